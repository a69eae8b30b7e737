"""How Alembic reaches the database: by the program's connection, or from the shell by URL.

The program passes a connection in `config.attributes`. `alembic` on the command line takes
CATALOG_SYNC_DATABASE_URL or the configuration file, as the program does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import context

from catalog_sync.config import load as config_load
from catalog_sync.db import engine as db_engine
from catalog_sync.db.schema import VERSION_TABLE, metadata

if TYPE_CHECKING:
    from sqlalchemy import Connection


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        compare_type=True,
        # Ignore tables of other programs.
        include_name=lambda name, kind, _parents: kind != "table" or name in metadata.tables,
        transactional_ddl=connection.dialect.name in {"sqlite", "postgresql"},
    )
    with context.begin_transaction():
        context.run_migrations()


if (given := context.config.attributes.get("connection")) is not None:
    _run(given)
else:
    engine = db_engine.create_engine(config_load.load().database_url.get_secret_value())
    with engine.begin() as opened:
        _run(opened)
