"""The bare job, the reference of all ratios: walk all pages, upsert, print.

Run: python bare.py BASE_URL DATABASE_URL
"""

import sys
from datetime import UTC, datetime

import httpx
import orjson

CREATE = """
CREATE TABLE IF NOT EXISTS models (
    id text PRIMARY KEY, display_name text, created_at text, payload text,
    first_seen_at text, last_seen_at text
)"""
UPSERT = """
INSERT INTO models VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET display_name = excluded.display_name,
    created_at = excluded.created_at, payload = excluded.payload,
    last_seen_at = excluded.last_seen_at"""


def walk(base_url):
    """Yield the models of every page."""
    query = {"limit": 1000}
    with httpx.Client(base_url=base_url, headers={"anthropic-version": "2023-06-01"}) as client:
        while True:
            page = orjson.loads(client.get("/v1/models", params=query).raise_for_status().content)
            yield from page["data"]
            if not page["has_more"]:
                return
            query["after_id"] = page["last_id"]


def connect(database_url):
    """Open the database; imports the one driver that is needed."""
    if database_url.startswith("sqlite:///"):
        import sqlite3

        return sqlite3.connect(database_url.removeprefix("sqlite:///")), UPSERT
    import psycopg

    return psycopg.connect(database_url), UPSERT.replace("?", "%s")


def main(base_url, database_url):
    """Bring the table in line with the list."""
    connection, upsert = connect(database_url)
    cursor = connection.cursor()
    cursor.execute(CREATE)
    now = datetime.now(UTC).isoformat()
    rows = [
        (m["id"], m["display_name"], m["created_at"], orjson.dumps(m).decode(), now, now)
        for m in walk(base_url)
    ]
    cursor.executemany(upsert, rows)
    connection.commit()
    print(f"{len(rows)} models")


main(*sys.argv[1:])
