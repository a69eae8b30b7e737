"""The job with sqlite-utils, for SQLite.

Run: python sqlite_utils_upsert.py BASE_URL DATABASE_URL
"""

import sys

import httpx
import sqlite_utils


def walk(base_url):
    """Yield the models of every page."""
    query = {"limit": 1000}
    with httpx.Client(base_url=base_url) as client:
        while True:
            page = client.get("/v1/models", params=query).raise_for_status().json()
            yield from page["data"]
            if not page["has_more"]:
                return
            query["after_id"] = page["last_id"]


def main(base_url, database_url):
    """Bring the table in line with the list."""
    database = sqlite_utils.Database(database_url.removeprefix("sqlite:///"))
    table = database["models"].upsert_all(walk(base_url), pk="id", alter=True)
    print(f"{table.count} models")


main(*sys.argv[1:])
