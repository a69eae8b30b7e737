"""The README's SQL recipes, by question and database, as a user would copy them."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[1].joinpath("README.md")
DATABASES = {"SQLite": "sqlite", "PostgreSQL": "postgresql", "MariaDB": "mariadb"}


def recipes() -> dict[str, dict[str, str]]:
    """Return each question's query by database.

    A recipe is an `sql` block that begins with the question; a comment names the databases of the
    query below it.
    """
    found: dict[str, dict[str, str]] = {}
    text = README.read_text(encoding="utf-8").partition("\n## SQL\n")[2].partition("\n## ")[0]
    for block in re.findall(r"^```sql\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        first, _, rest = block.partition("\n")
        question = first.removeprefix("-- ").partition("?")[0]
        queries = re.findall(r"^-- ([\w, ]+):\n(.*?;)$", rest, re.DOTALL | re.MULTILINE)
        found[question] = {
            DATABASES[name]: query for names, query in queries for name in names.split(", ")
        }
    return found
