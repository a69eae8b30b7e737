"""The SQL recipes of the documentation, by question and database, as a user would copy them."""

from __future__ import annotations

import re

from docs import page

DATABASES = {"SQLite": "sqlite", "PostgreSQL": "postgresql", "MariaDB": "mariadb"}


def recipes() -> dict[str, dict[str, str]]:
    """Return each question's query by database.

    A recipe is an `sql` block that begins with the question; a comment names the databases of the
    query below it.
    """
    found: dict[str, dict[str, str]] = {}
    for block in page("reference/sql-recipes.md").blocks("sql"):
        first, _, rest = block.partition("\n")
        question = first.removeprefix("-- ").partition("?")[0]
        queries = re.findall(r"^-- ([\w, ]+):\n(.*?;)$", rest, re.DOTALL | re.MULTILINE)
        found[question] = {
            DATABASES[name]: query for names, query in queries for name in names.split(", ")
        }
    return found
