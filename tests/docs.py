"""The documents, and a program that writes their generated parts: `python tests/docs.py`.

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`. Each name is a function below,
with its words as arguments: help texts, configuration keys, columns, metrics, error codes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import sqlalchemy as sa

import config_schema
from catalog_sync import errors
from catalog_sync.alerts.message import compose
from catalog_sync.cli import cli
from catalog_sync.config.load import ENV_PREFIX
from catalog_sync.db import engine as db_engine
from catalog_sync.db import migrate
from catalog_sync.db.schema import metadata
from catalog_sync.domain.kinds import DEFAULT_ALERT_KINDS, Kind
from catalog_sync.domain.model import Event
from catalog_sync.queries import metrics as metrics_query

SONNET = {
    "type": "model",
    "id": "claude-sonnet-4-5-20250929",
    "display_name": "Claude Sonnet 4.5",
    "created_at": "2025-09-29T00:00:00Z",
    "lifecycle": "deprecated",
    "retires_at": "2027-02-19T00:00:00Z",
}
CHECKOUT = Path(__file__).parents[1]
BLOCK = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
PART = re.compile(
    r"(?<=^<!-- generated: )([^\n]+?)( -->\n).*?(^<!-- end -->$)", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Page:
    """A Markdown document."""

    path: Path

    @property
    def name(self) -> str:
        """Its path in the repository."""
        return self.path.relative_to(CHECKOUT).as_posix()

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    def section(self, heading: str) -> str:
        """Return the text below a heading of the second level."""
        return self.text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]

    def blocks(self, language: str) -> list[str]:
        """Return the contents of the code blocks in a language."""
        return [block for found, block in self.code() if found == language]

    def code(self) -> list[tuple[str, str]]:
        """Return the language and the content of each code block."""
        return [(found[1], found[2]) for found in BLOCK.finditer(self.text)]

    def first_column(self, heading: str) -> list[str]:
        """Return the words in backticks of the first column of a table, below its header."""
        rows = self.text.partition(f"\n| {heading} |")[2].partition("\n\n")[0].splitlines()[2:]
        return [word for row in rows for word in re.findall(r"`([^`]+)`", row.split("|")[1])]


def page(name: str) -> Page:
    """Return a document of docs/."""
    return Page(CHECKOUT / "docs" / name)


def pages() -> list[Page]:
    """Return every document of the repository."""
    docs = sorted(CHECKOUT.joinpath("docs").rglob("*.md"))
    return [Page(path) for path in (*sorted(CHECKOUT.glob("*.md")), *docs)]


def generated(text: str) -> str:
    """Return a document with its generated parts written anew."""

    def write(part: re.Match[str]) -> str:
        name, *arguments = part[1].split()
        return f"{part[1]}{part[2]}{PARTS[name](*arguments)}{part[3]}"

    return PART.sub(write, text)


def commands(group: click.Group = cli, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield each command with its words, `sources list` for one; the program itself is ``."""
    context = click.Context(group)
    yield path, group
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        words = f"{path} {name}".strip()
        if isinstance(command, click.Group):
            yield from commands(command, words)
        elif command is not None:
            yield words, command


def help_text(*words: str) -> str:
    """A command's help, as a terminal of 80 columns shows it."""
    command = dict(commands())[" ".join(words)]
    context = click.Context(command, info_name=" ".join(("catalog-sync", *words)))
    context.help_option_names = ["-h", "--help"]
    context.terminal_width = 78  # what the program uses of 80
    return f"```text\n{command.get_help(context).rstrip()}\n```\n"


def table(header: str, rows: list[tuple[str, ...]]) -> str:
    """A Markdown table. `header` holds the columns' names, separated by "|"."""
    names = header.split("|")
    lines = [names, ["---"] * len(names), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def configuration(owner: str) -> str:
    """The keys of the top level, or of a table such as SourceSettings."""
    schema = config_schema.schema()
    top = owner == "Settings"
    found = schema if top else schema["$defs"][owner]
    rows = []
    for key, value in found["properties"].items():
        if key in {"sources", "alerts", "check"} and top:
            continue
        default = f"`{toml(value['default'])}`" if "default" in value else ""
        if key in found["required"]:
            default = "required"
        meaning = value["description"].replace("|", "\\|")
        variable = (f"`{ENV_PREFIX}{key.upper()}`",) if top else ()
        rows.append((f"`{key}`", allowed(value, schema["$defs"]), default, meaning, *variable))
    return table("key|value|default|meaning" + ("|variable" if top else ""), rows)


def allowed(value: dict[str, Any], definitions: dict[str, Any]) -> str:
    """What a key may be, from its schema: "duration", "1 to 1000", "list of text"."""
    value = value.get("anyOf", [value])[0]  # the other one is null
    value = definitions[value["$ref"].rpartition("/")[2]] if "$ref" in value else value
    if "enum" in value:
        return ", ".join(f"`{word}`" for word in value["enum"])
    if value["type"] == "array":
        return f"list of {allowed(value['items'], definitions)}"
    if "maximum" in value:
        return f"{value['minimum']} to {value['maximum']}"
    is_duration = "|w)" in value.get("pattern", "")
    words = {"object": "table", "integer": "number", "string": "text"}
    return "duration" if is_duration else words[value["type"]]


def toml(value: Any) -> str:
    """A default as the configuration file would spell it."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return "{}"
    return f'"{value}"' if isinstance(value, str) else str(value)


def columns(name: str) -> str:
    """A table's columns: the name, the type, whether NULL is possible, the comment."""
    rows = []
    described = metadata.tables[name]
    for column in described.columns:
        key = " (key)" if column.primary_key else ""
        null = "yes" if column.nullable else ""
        rows.append((f"`{column.name}`{key}", kind(column.type), null, str(column.comment)))
    return f"{described.comment}\n\n" + table("column|type|NULL|meaning", rows)


def view(name: str) -> str:
    """The columns of a view, in their order."""
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    db_engine.prepare(engine)
    migrate.upgrade(engine)
    names = [column["name"] for column in sa.inspect(engine).get_columns(name)]
    engine.dispose()
    return f"Columns: {', '.join(f'`{each}`' for each in names)}.\n"


def kind(type_: Any) -> str:
    """One word for a column's type on all databases."""
    implementation = getattr(type_, "impl", type_)
    words = {sa.JSON: "JSON", sa.DateTime: "time", sa.Boolean: "boolean", sa.Integer: "integer"}
    return next((word for each, word in words.items() if isinstance(implementation, each)), "text")


def metrics() -> str:
    """Every metric with its labels."""
    source = metrics_query.SourceSnapshot(metrics_query.health.SourceHealth(""))
    snapshot = metrics_query.Snapshot((source,))
    rows = []
    for metric in metrics_query.registry(lambda: snapshot).collect():
        name = metric.name + ("_total" if metric.type == "counter" else "")
        labels = ",".join(metric._labelnames)
        labels = f"{{{labels}}}" if labels else ""
        rows.append((f"`{name}{labels}`", metric.type, metric.documentation))
    return table("metric|type|value", rows)


def error_codes() -> str:
    """The codes that `sync_runs.error_code` holds, and what to do about each."""
    rows = []
    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, errors.CatalogSyncError) and error.code:
            says = str(error.__doc__).partition("\n")[0]
            rows.append((f"`{error.code}`", str(error.exit_code), says, error.advice))
    return table("code|exit code|means|what to do", rows[1:])


def subjects() -> str:
    """The subject of a message about each kind of event, and whether it is sent by default."""
    rows = []
    for kind in Kind:
        about_model = kind.value in {*DEFAULT_ALERT_KINDS, Kind.UPDATED}
        changes = {"days_left": {"old": 90, "new": 30}} if kind is Kind.RETIRING else {}
        changes |= {"capabilities.effort.xhigh": {}} if kind is Kind.SCHEMA_CHANGED else {}
        event = Event(
            kind,
            datetime(2027, 1, 20, tzinfo=UTC),
            SONNET["id"] if about_model else None,
            changes,
            SONNET if about_model else None,
            "anthropic",
        )
        default = "yes" if kind in DEFAULT_ALERT_KINDS else "no"
        subject = compose("", [event], 1).subject.replace("\u200b", "")
        rows.append((f"`{kind}`", default, subject))
    return table("event|default|subject", rows)


PARTS: dict[str, Callable[..., str]] = {
    "help": help_text,
    "configuration": configuration,
    "columns": columns,
    "view": view,
    "metrics": metrics,
    "error_codes": error_codes,
    "subjects": subjects,
}


def main() -> None:
    """Write what has changed."""
    for each in pages():
        if (new := generated(each.text)) != each.text:
            each.path.write_text(new, encoding="utf-8")
            print(each.name)


if __name__ == "__main__":
    main()
