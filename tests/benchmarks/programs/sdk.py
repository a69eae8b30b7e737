"""The job with the official SDK and upserts through SQLAlchemy.

Run: python sdk.py BASE_URL DATABASE_URL
"""

import sys
from datetime import UTC, datetime

from anthropic import Anthropic
from sqlalchemy import JSON, DateTime, create_engine
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class Base(DeclarativeBase):
    """The tables."""


class Model(Base):
    """A model of the list."""

    __tablename__ = "models"
    id: Mapped[str] = mapped_column(primary_key=True)
    display_name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    payload: Mapped[dict] = mapped_column(JSON)
    first_seen_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    last_seen_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


def main(base_url, database_url):
    """Bring the table in line with the list."""
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    Base.metadata.create_all(engine)
    insert = (postgresql if engine.name == "postgresql" else sqlite).insert(Model)
    kept = ("display_name", "created_at", "payload", "last_seen_at")
    upsert = insert.on_conflict_do_update(
        index_elements=["id"], set_={name: insert.excluded[name] for name in kept}
    )
    now = datetime.now(UTC)
    rows = [
        {
            "id": model.id,
            "display_name": model.display_name,
            "created_at": model.created_at,
            "payload": model.model_dump(mode="json"),
            "first_seen_at": now,
            "last_seen_at": now,
        }
        for model in Anthropic(api_key="benchmark", base_url=base_url).models.list(limit=1000)
    ]
    with Session(engine) as session, session.begin():
        session.execute(upsert, rows)
    print(f"{len(rows)} models")


main(*sys.argv[1:])
