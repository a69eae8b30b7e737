"""`catalog-sync publish` as a process: its files, its output and its errors."""

from __future__ import annotations

import json
import re
from pathlib import Path

import feedparser
import icalendar
import pytest

from catalog_sync.app import App
from published import HOSTILE
from support import Answer, ScriptedServer, model, page, run, settings_for

FILES = {
    *("models.json", "models.csv", "events.json", "renovate.json", "badge.json"),
    *("feed.xml", "retirements.ics", "changes.html", "index.html"),
}
DEMO = "sqlite:///catalog-demo.db"


def site(directory: str = "site") -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in Path(directory).iterdir()}


def test_the_demos_site() -> None:
    """The site of the demo contains the output of the commands, with the same bytes each time."""
    assert run("demo").returncode == 0
    done = run("publish", "site", CATALOG_SYNC_DATABASE_URL=DEMO)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "published 14 models and 24 events to site: 9 files, 9 changed\n"
    files = site()
    assert set(files) == FILES
    for name, command in {
        "models.csv": ["models", "--all", "--format", "csv"],
        "events.json": ["events", "--format", "json"],
    }.items():
        assert run(*command, CATALOG_SYNC_DATABASE_URL=DEMO).stdout.encode() == files[name]
    feed = feedparser.parse(files["feed.xml"])
    assert not feed.bozo
    assert len(feed.entries) == 24 - 7 + 1
    calendar = icalendar.Calendar.from_ical(files["retirements.ics"])
    assert [str(e["summary"]) for e in calendar.walk("VEVENT")] == ["Claude Sonnet 4.5 retires"]

    elsewhere = {"TZ": "Pacific/Auckland", "PYTHONHASHSEED": "7", "LC_ALL": "de_DE.UTF-8"}
    again = run("publish", "site", CATALOG_SYNC_DATABASE_URL=DEMO, **elsewhere)
    assert again.stdout.endswith(": 9 files, 0 changed\n")
    assert site() == files

    own = {
        "CATALOG_SYNC_PUBLIC_URL": "https://example.com/models/",
        "CATALOG_SYNC_SITE_TITLE": "Models at ACME",
    }
    moved = run("publish", "site", CATALOG_SYNC_DATABASE_URL=DEMO, **own)
    assert moved.stdout.endswith(": 9 files, 4 changed\n")
    assert b'href="https://example.com/models/feed.xml"' in site()["feed.xml"]
    assert b"<title>Models at ACME</title>" in site()["index.html"]


def test_hostile_answers_and_events_of_the_job(database_url: str) -> None:
    """Hostile names are text in every file, and failures are not published."""
    objects = [model(id_, display_name=name) for id_, name in HOSTILE.items()]
    answers = [page(objects), Answer(b"a word of internal-host", 403), page(objects)]
    with ScriptedServer(answers) as server:
        settings = settings_for(database_url, server.url)
        with App(settings.model_copy(update={"failure_alert_after": 1})) as app:
            recorded = [event.kind for _ in answers for event in app.sync()[0].events]
    assert recorded == ["added"] * len(HOSTILE) + ["sync_failed", "sync_recovered"]
    done = run("publish", "site", CATALOG_SYNC_DATABASE_URL=database_url)
    assert (done.returncode, done.stderr) == (0, "")
    files = site()
    for name, content in files.items():
        for word in (server.url, "internal-host", "sync_failed", "sync_recovered"):
            assert word.encode() not in content, name
    models = {row["id"]: row["display_name"] for row in json.loads(files["models.json"])}
    assert models == HOSTILE
    events = json.loads(files["events.json"])
    assert [event["kind"] for event in events] == ["added"] * len(HOSTILE)
    feed = feedparser.parse(files["feed.xml"])
    assert not feed.bozo
    assert [entry.title for entry in feed.entries] == ["Baseline of 8 models: source anthropic"]


def test_sources() -> None:
    """`--source` publishes only these sources; an unknown one is refused."""
    Path("catalog-sync.toml").write_text(
        '[[sources]]\nname = "one"\nbase_url = "http://127.0.0.1:1"\n'
        '[[sources]]\nname = "two"\nbase_url = "http://127.0.0.1:1"\n'
        '[[sources]]\nname = "never"\nbase_url = "http://127.0.0.1:1"\n',
        encoding="utf-8",
    )
    for name in ("one", "two"):
        with (
            ScriptedServer([page([model(f"model-of-{name}")])]) as server,
            App(settings_for("sqlite:///catalog.db", server.url, name=name)) as app,
        ):
            assert app.sync()[0].error is None
    assert run("publish", "both").returncode == 0
    assert run("publish", "two", "--source", "two").returncode == 0
    both, two = site("both"), site("two")
    assert [row["source"] for row in json.loads(two["models.json"])] == ["two"]
    for content in two.values():
        assert b"model-of-one" not in content
    assert b'id="source"' in both["index.html"]
    assert b'id="source"' not in two["index.html"]
    unknown = run("publish", "x", "--source", "three")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "no source is named 'three'" in unknown.stderr
    never = run("publish", "x", "--source", "never")
    assert (never.returncode, never.stderr) == (
        1,
        "catalog-sync: nothing was recorded yet; run: catalog-sync sync\n",
    )
    assert not Path("x").exists()


def test_an_empty_database() -> None:
    """An empty database is not published."""
    done = run("publish", "site")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "catalog-sync: nothing was recorded yet; run: catalog-sync sync\n"
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "Missing argument 'DIR'"),
        ([""], "DIR is empty"),
        (["file"], "Invalid value for 'DIR': Directory 'file' is a file"),
    ],
)
def test_bad_usage(arguments: list[str], complaint: str) -> None:
    """A missing directory, an empty name and a file are wrong usage."""
    Path("file").touch()
    done = run("publish", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        rf"catalog-sync: {complaint}; see: catalog-sync publish --help\n", done.stderr
    )


def test_a_directory_that_cannot_be_written() -> None:
    """A site that cannot be written is one line and exit code 1."""
    Path("file").touch()
    with (
        ScriptedServer([page([model("a")])]) as server,
        App(settings_for("sqlite:///catalog.db", server.url)) as app,
    ):
        assert app.sync()[0].error is None
    done = run("publish", "file/site")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "catalog-sync: the site cannot be written to file/site: Not a directory; "
    )
    assert done.stderr.count("\n") == 1
