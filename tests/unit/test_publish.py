"""The published files: values in, files out, read by the libraries that read such files."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import itertools
import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import feedparser
import icalendar
import pytest

from catalog_sync.domain.kinds import Kind
from catalog_sync.domain.model import Event
from catalog_sync.site.content import KINDS, MAX_CHANGES
from catalog_sync.site.timeline import Axis, lifespan
from published import (
    BASELINE,
    HOSTILE,
    NOW,
    PRIVATE,
    Site,
    added,
    catalog,
    contents,
    day,
    hostile,
    later_event,
    record,
    render,
    source,
)

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufffe]")


def read_feed(files) -> feedparser.FeedParserDict:
    feed = feedparser.parse(files["feed.xml"])
    assert not feed.bozo, feed.bozo_exception
    return feed


def dates(files) -> dict[str, icalendar.Event]:
    """The entries of the calendar, by their model."""
    calendar = icalendar.Calendar.from_ical(files["retirements.ics"])
    assert calendar.errors == []
    assert calendar["version"] == "2.0"
    entries = {}
    for entry in calendar.walk("VEVENT"):
        assert entry.errors == []
        (model_id,) = re.findall(r"^Model: (.*)$", entry["description"], re.MULTILINE)
        entries[model_id] = entry
    return entries


class Page(HTMLParser):
    """The elements of a page, as a parser other than a browser sees them."""

    def __init__(self, files, name: str = "index.html") -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(files[name].decode())
        self.text = "\n".join(text for text in self.texts if text.strip())

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


# --- every file --------------------------------------------------------------------------------


def test_the_files() -> None:
    """The files, the page last, depend only on the values: the same bytes each time."""
    files = render(catalog())
    assert list(files)[-1] == "index.html"
    assert files == render(catalog())


def test_only_the_name_of_a_source_is_published() -> None:
    """No file contains the address or the identity of a source."""
    for content in render(catalog()).values():
        assert PRIVATE.encode() not in content


def test_events_about_the_job_are_private() -> None:
    """No kind of event about the job is published."""
    assert set(Kind) - set(KINDS) == {Kind.SYNC_FAILED, Kind.SYNC_RECOVERED, Kind.SYNC_HELD}


def test_json_and_csv_hold_the_rows_as_they_are() -> None:
    """JSON and CSV hold texts as the API sent them, line ends and formulas included."""
    site = hostile()
    files = render(site)
    models = json.loads(files["models.json"])
    assert [row["display_name"] for row in models[: len(HOSTILE)]] == list(HOSTILE.values())
    text = io.StringIO(files["models.csv"].decode(), newline="")
    records = list(csv.DictReader(text))
    assert [row["display_name"] for row in records[: len(HOSTILE)]] == list(HOSTILE.values())
    assert [row["id"] for row in records] == [found.info.id for found in site.models]
    assert len(json.loads(files["events.json"])) == len(site.events)


def test_no_control_character_is_shown() -> None:
    """Bells, escapes, line ends and changes of direction are escaped, or blanks."""
    files = render(hostile())
    for name in ("feed.xml", "index.html"):
        assert CONTROL.findall(files[name].decode()) == [], name
    assert CONTROL.findall(files["retirements.ics"].decode().replace("\r\n", "")) == []


# --- the feed ----------------------------------------------------------------------------------


def test_an_entry_for_each_event() -> None:
    """An event is an entry, newest first, with its time and the text of the alerts."""
    feed = read_feed(render(catalog()))
    assert [entry.title for entry in feed.entries[:3]] == [
        "New model: Claude Opus 5 (claude-opus-5)",
        "Deprecated: Claude Late (claude-late)",
        "Removed: Claude Old (claude-old)",
    ]
    assert [entry.updated for entry in feed.entries[:2]] == [
        "2026-06-20T18:00:00Z",
        "2026-05-01T18:00:00Z",
    ]
    assert feed.feed.updated == "2026-06-20T18:00:00Z"
    (deprecated,) = [entry for entry in feed.entries if "Deprecated" in entry.title]
    assert deprecated.summary.splitlines() == [
        "Claude Late was deprecated (claude-late): retires 2026-09-01 (123 days).",
        "Source: anthropic",
    ]
    assert deprecated.author == "anthropic"
    assert deprecated.tags[0].term == "deprecated"


def test_a_first_list_is_not_new() -> None:
    """The models of a source's first list share one entry, which calls none of them new."""
    models = [record(f"claude-{number}") for number in range(200)]
    feed = read_feed(render(contents([*models, record("claude-new", seen=day("2026-03-01"))])))
    assert [entry.title for entry in feed.entries] == [
        "New model: Claude New (claude-new)",
        "Baseline of 200 models: source anthropic",
    ]
    assert len(json.loads(render(contents(models))["events.json"])) == 200


def test_ids_stay() -> None:
    """Ids are unique and stay the same when events follow, the site moves or a source is added."""
    site = catalog()
    before = read_feed(render(site))
    later = Event(Kind.UPDATED, NOW, "claude-opus-5", {}, None, "anthropic", 9, 9)
    moved = replace(site, events=(*site.events, later), public_url="https://example.com/models")
    moved = replace(moved, sources=(*site.sources, source("third", baseline=NOW)))
    after = read_feed(render(moved))
    ids = [entry.id for entry in after.entries]
    assert len(set(ids)) == len(ids) == len(before.entries) + 1
    assert ids[1:] == [entry.id for entry in before.entries]
    assert before.feed.id == after.feed.id
    assert all(re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", id_) for id_ in [after.feed.id, *ids])
    # Literal, because other ids would make all old entries new for every reader.
    assert ids[1] == "urn:uuid:bcbc2187-9c97-5f0c-a43c-4f1802280258"
    assert before.feed.id == "urn:uuid:9ec8bcb2-fb92-53f6-8d02-f489b026ead9"


def test_a_feed_of_some_sources_is_another_one() -> None:
    """Other chosen sources make another feed; their order does not matter."""
    feeds = [
        read_feed(render(replace(catalog(), chosen=chosen))).feed.id
        for chosen in ((), ("gateway",), ("anthropic", "gateway"), ("gateway", "anthropic"))
    ]
    assert len(set(feeds)) == 3
    assert feeds[2] == feeds[3]


def test_links() -> None:
    """Links are relative, with `public_url` absolute, and lead to the model's row."""
    files = render(catalog())
    assert {link["href"] for link in feedparser.parse(files["feed.xml"]).feed.links} == {
        "feed.xml",
        "index.html",
    }
    files = render(replace(catalog(), public_url="https://example.com/models"))
    feed = read_feed(files)
    assert {link["href"] for link in feed.feed.links} == {
        "https://example.com/models/feed.xml",
        "https://example.com/models/index.html",
    }
    rows = {attributes.get("id") for attributes in Page(files).all("li")}
    for entry in feed.entries:
        page, _, fragment = entry.link.partition("#")
        assert page == "https://example.com/models/index.html"
        assert fragment in rows | {"all"}
    (date_,) = dates(files).values()
    assert date_["url"] == "https://example.com/models/index.html#anthropic/claude-late"


def test_hostile_names_in_the_feed() -> None:
    """The feed is valid XML 1.0 for all names, and contains them as text."""
    files = render(hostile())
    feed = read_feed(files)
    root = ET.fromstring(files["feed.xml"])
    assert {element.tag.rpartition("}")[2] for element in root.iter()} == {
        *("feed", "id", "title", "updated", "author", "name", "generator", "link"),
        *("entry", "published", "category", "content"),
    }
    titles = {entry.title for entry in feed.entries}
    name = HOSTILE["<script>alert(1)</script>"]
    assert f"New model: {name} (<script>alert(1)</script>)" in titles
    assert {entry.title_detail.type for entry in feed.entries} == {"text/plain"}


def test_a_feed_has_an_end() -> None:
    """A feed holds the newest thousand entries; `events.json` holds all."""
    one = record("claude-1")
    events = [later_event(one, Kind.UPDATED, "2026-03-01") for _ in range(1100)]
    events = [
        replace(event, occurred_at=event.occurred_at + timedelta(minutes=number))
        for number, event in enumerate(events)
    ]
    files = render(contents([one], events))
    entries = read_feed(files).entries
    assert len(entries) == 1000
    assert entries[0].updated == (day("2026-03-01") + timedelta(minutes=1099)).strftime(
        "%Y-%m-%dT%H:%M:%SZ"
    )
    assert len(json.loads(files["events.json"])) == 1100


def test_every_path_of_a_catalog_wide_change() -> None:
    """The entry of a change on all models names every path."""
    paths = [f"capabilities.c{number}.supported" for number in range(30)]
    changes = {path: {"old": None, "new": True} for path in ["lifecycle", *paths]}
    event = Event(Kind.SCHEMA_CHANGED, day("2026-03-01"), None, changes, {}, "anthropic")
    site = contents([record("a")])
    (entry, _) = read_feed(render(replace(site, events=(*site.events, event)))).entries
    assert all(path in entry.summary for path in changes)


def going() -> Site:
    """A deprecated model with a successor, and a removed one."""
    dated = {"lifecycle": "deprecated", "retires_at": "2026-09-01T00:00:00Z"}
    line = {"line": "opus", "created_at": "2025-01-01T00:00:00Z"}
    late = record("claude-opus-4", **line, **dated)
    gone = record("claude-opus-3", **line, removed=day("2026-06-01"))
    new = record("claude-opus-5", line="opus", created_at="2026-06-01T00:00:00Z")
    events = [
        *map(added, (late, gone, new)),
        later_event(
            late, Kind.DEPRECATED, "2026-05-01", lifecycle={"old": "active", "new": "deprecated"}
        ),
        later_event(gone, Kind.REMOVED, "2026-06-01"),
    ]
    return contents([new, late, gone], events)


def test_the_successor_is_named() -> None:
    """Feed, calendar and pages name the successor of a model that leaves, and of no other."""
    files = render(going())
    removed, deprecated, _ = read_feed(files).entries
    assert "Successor: Claude Opus 5" in removed.summary
    assert "Successor: Claude Opus 5" in deprecated.summary
    assert (
        "Successor: Claude Opus 5 (claude-opus-5)" in dates(files)["claude-opus-4"]["description"]
    )
    page = files["index.html"].decode()
    assert (
        page.count('<a href="#anthropic/claude-opus-5"><bdi>Claude Opus 5</bdi></a></small>') == 1
    )
    assert page.count('<dt>Successor<dd><a href="#anthropic/claude-opus-5">') == 2
    assert Page(files, "changes.html").text.count("successor: Claude Opus 5") == 2


# --- the calendar ------------------------------------------------------------------------------


def test_a_day_for_each_retirement_date() -> None:
    """A date is a whole day that blocks no time, with id and source."""
    (entry,) = dates(render(catalog())).values()
    assert entry["summary"] == "Claude Late retires (anthropic)"
    assert entry["dtstart"].dt == date(2026, 9, 1)
    assert entry["dtstart"].params["VALUE"] == "DATE"
    assert entry["transp"] == "TRANSPARENT"
    assert entry["description"].splitlines() == [
        "Model: claude-late",
        "Source: anthropic",
        "Deprecated: 2026-05-01",
    ]


def test_a_revised_date_moves_under_its_uid() -> None:
    """The UID stays, the revision number grows, and both stamps are the event's time."""
    plans = [None, "2026-08-01", "2026-09-01", None, "2026-10-01"]
    steps = [
        record("a", retires_at=plan and f"{plan}T00:00:00Z", display_name="A") for plan in plans
    ]
    days = ["2026-02-02", "2026-03-01", "2026-04-01", "2026-05-01", "2026-06-01"]
    events = [later_event(step, Kind.UPDATED, at) for step, at in zip(steps, days, strict=True)]
    uids = set()
    for until, sequence in ((2, 0), (3, 1), (5, 3)):
        (entry,) = dates(render(contents([steps[until - 1]], events[:until]))).values()
        uids.add(str(entry["uid"]))
        assert entry["sequence"] == sequence
        assert entry["dtstart"].dt.isoformat() == plans[until - 1]
        assert entry["dtstamp"].dt == entry["last-modified"].dt == day(days[until - 1])
    assert uids == {"922832bc-432f-5916-bc59-76fc2462162e"}
    assert dates(render(contents([steps[3]], events[:4]))) == {}


def test_a_date_that_all_models_got_at_once() -> None:
    """A field that appeared on the whole catalog states dates too."""
    one, two = (record(id_, retires_at="2026-09-01T00:00:00Z") for id_ in "ab")
    before = [replace(added(m), payload={**m.info.payload, "retires_at": None}) for m in (one, two)]
    objects = {m.info.id: m.info.payload for m in (one, two)}
    appeared = Event(Kind.SCHEMA_CHANGED, day("2026-03-01"), None, {}, objects, "anthropic")
    entries = dates(render(contents([one, two], [*before, appeared])))
    assert {entry["dtstamp"].dt for entry in entries.values()} == {day("2026-03-01")}
    assert {int(entry["sequence"]) for entry in entries.values()} == {0}


@pytest.mark.parametrize(
    ("removed", "shown"), [("2026-08-31", False), ("2026-09-01", True), ("2026-09-05", True)]
)
def test_a_model_that_left_early(removed: str, shown: bool) -> None:
    """A model that left before its date has no entry; one that left on it or later keeps it."""
    left = record("a", retires_at="2026-09-01T00:00:00Z", removed=day(removed))
    assert bool(dates(render(contents([left])))) is shown


def test_a_calendar_without_dates() -> None:
    """Without a retirement the calendar is empty except for one required component."""
    content = render(contents([record("a")]))["retirements.ics"]
    calendar = icalendar.Calendar.from_ical(content)
    assert calendar.walk("VEVENT") == []
    assert len(calendar.subcomponents) == 1


def test_hostile_names_in_the_calendar() -> None:
    """Names are text in the calendar: they end no line and start no entry."""
    content = render(hostile())["retirements.ics"]
    assert content.endswith(b"END:VCALENDAR\r\n")
    lines = content.split(b"\r\n")
    assert max(map(len, lines)) <= 75
    assert all(b"\n" not in line and b"\r" not in line and line.decode() for line in lines[:-1])
    entries = dates(render(hostile()))
    assert len(entries) == len(HOSTILE) + 1
    assert entries["комма, точка; \\n"]["summary"].endswith(
        "R&D <beta>, a;b\\c retires (anthropic)"
    )
    assert entries["blank"]["summary"] == "blank retires (anthropic)"


# --- the page ----------------------------------------------------------------------------------


def test_the_page_needs_no_script() -> None:
    """Every model is on the page with its dates and its bar."""
    page = Page(render(catalog()))
    for id_ in ("claude-opus-5", "claude-late", "claude-old", "local/llama", "local/phi"):
        assert id_ in page.texts
    for text in ("2026-06-19", "2026-09-01", "2024-03-07", "unknown", "64,000"):
        assert text in page.text
    assert "1970" not in page.text
    assert "before 2026-02-01\n" in page.texts  # of a model on the first list
    bars = [a for a in page.all("rect") if a["class"] in {"live", "late", "gone"} and "x" in a]
    assert len(bars) == 5 + 1  # one of the five is first live and then late


def test_a_row_opens_with_capabilities_and_history() -> None:
    """A row holds the model's capabilities and its latest events, the newest first."""
    able = record("a", capabilities={"effort": {"supported": True}, "pdf": {"supported": True}})
    change = {"old": "active", "new": "deprecated"}
    events = [added(able)]
    events += [
        later_event(able, Kind.UPDATED, f"2026-03-0{number}", x=change) for number in range(1, 6)
    ]
    events.append(later_event(able, Kind.DEPRECATED, "2026-05-01", lifecycle=change))
    page = Page(render(contents([able], events)))
    assert "effort, pdf" in page.texts
    shown = page.text[page.text.index("effort, pdf") :].splitlines()
    dated = [text for text in shown if re.fullmatch(r"2026-\d\d-\d\d", text)]
    assert (dated[0], dated[-1], len(dated)) == ("2026-05-01", "2026-03-02", 5)
    assert " lifecycle: active → deprecated" in shown
    assert "and 2 earlier" in shown


def test_the_first_list_is_no_news_in_a_row() -> None:
    """The history of a model of the first list begins with "baseline"; of a later one, "added"."""
    models = [record("first"), record("later", seen=day("2026-03-01"))]
    events = [
        event
        for each in models
        for event in (added(each), later_event(each, Kind.UPDATED, "2026-04-01"))
    ]
    page = Page(render(contents(models, events)))
    kinds = [text for text in page.text.splitlines() if text in {"baseline", "added", "updated"}]
    rows = kinds[-4:]
    assert rows == ["updated", "baseline", "updated", "added"]


@pytest.mark.parametrize(
    ("name", "tags"), [("index.html", ["style", "script"]), ("changes.html", ["style"])]
)
def test_a_page_requests_nothing(name: str, tags: list[str]) -> None:
    """The policy allows the style and the script of the page, and nothing else."""
    files = render(hostile())
    page = Page(files, name)
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv")]
    text = files[name].decode()
    assert ("script-src" in policy) == ("script" in tags)
    for tag in tags:
        assert len(page.all(tag)) == 1
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert all("src" not in a and "style" not in a for _, a in page.tags)
    assert not [key for _, a in page.tags for key in a if key.startswith("on")]
    outside = [a["href"] for _, a in page.tags if re.match(r"\w+:|//", a.get("href") or "")]
    assert [href.partition(",")[0] for href in outside] == ["data:image/svg+xml"]


def test_the_page_names_its_feed_and_files() -> None:
    """The page links to every other file for people, and announces the feed."""
    files = render(catalog())
    page = Page(files)
    machines = {"index.html", "renovate.json", "badge.json"}
    assert {a["href"] for a in page.all("a")} >= files.keys() - machines
    (feed,) = [a for a in page.all("link") if a.get("type") == "application/atom+xml"]
    assert (feed["rel"], feed["href"]) == ("alternate", "feed.xml")


@pytest.mark.parametrize("name", ["index.html", "changes.html"])
def test_hostile_names_in_a_page(name: str) -> None:
    """Names are text in a page: the elements are those of a catalog with plain names."""
    page = Page(render(hostile()), name)
    harmless = Page(render(going()), "index.html")
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in harmless.tags} | {"nav"}
    assert "</title><img src=x onerror=alert(1)>" in page.texts
    assert r"turn \u202e and \u2066 bell \x07 line\r" in page.text


def test_the_title_of_the_site() -> None:
    """Pages, previews of links and the feed have the site's own title and a summary."""
    site = replace(catalog(), title="Models at <ACME>", public_url="https://example.com/m")
    files = render(site)
    assert read_feed(files).feed.title == "Models at <ACME>: what changed"
    for name, title in (
        ("index.html", "Models at <ACME>"),
        ("changes.html", "Models at <ACME>: all changes"),
    ):
        page = Page(files, name)
        assert title in page.texts
        graph = {a["property"]: a["content"] for a in page.all("meta") if "property" in a}
        assert graph["og:title"] == title
        assert graph["og:url"] == f"https://example.com/m/{name}"
    graph = {a["property"]: a["content"] for a in Page(files).all("meta") if "property" in a}
    assert graph["og:description"] == (
        "4 models listed, 1 gone. Next to retire: Claude Late, 2026-09-01."
    )


def test_all_changes_by_month() -> None:
    """The page of changes has every event, newest first, under its month, with its facts."""
    page = Page(render(catalog()), "changes.html")
    shown = [text.strip() for text in page.text.splitlines()]
    months = [text for text in shown if re.fullmatch(r"[A-Z][a-z]+ 2026", text)]
    assert months[len(months) // 2 :] == ["June 2026", "May 2026", "April 2026", "February 2026"]
    dates = [text for text in shown if re.fullmatch(r"2026-\d\d-\d\d", text)]
    assert dates == ["2026-06-20", "2026-05-01", "2026-04-20", "2026-02-01", "2026-02-01"]
    assert "retires 2026-09-01 (123 days), lifecycle: active → deprecated" in shown
    (link,) = {a["href"] for a in page.all("a") if "claude-late" in str(a["href"])}
    assert link == "index.html#anthropic/claude-late"


def test_changes_beyond_the_limit() -> None:
    """The page of changes has the latest ones, and says where the others are."""
    one = record("claude-1")
    events = [later_event(one, Kind.UPDATED, "2026-03-01") for _ in range(MAX_CHANGES + 1)]
    page = Page(render(contents([one], [added(one), *events])), "changes.html")
    assert f"The latest {MAX_CHANGES + 1:,} changes. Earlier ones are in " in page.texts
    assert len([a for a in page.all("li") if a["class"] == "updated"]) == MAX_CHANGES


# --- files for other programs ------------------------------------------------------------------


def test_releases_for_renovate() -> None:
    """Renovate gets the listed models with their releases; those to move away from are marked."""
    releases = json.loads(render(catalog())["renovate.json"])["releases"]
    assert releases == [
        {"version": "claude-opus-5", "releaseTimestamp": "2026-06-19T00:00:00Z"},
        {
            "version": "claude-late",
            "releaseTimestamp": "2026-01-01T00:00:00Z",
            "isDeprecated": True,
        },
        {"version": "local/phi", "releaseTimestamp": "2025-11-01T00:00:00Z"},
        {"version": "local/llama"},
    ]


@pytest.mark.parametrize(
    ("retires", "message", "color"),
    [
        (None, "1 listed", "brightgreen"),
        ("2026-09-01", "1 listed, next retires 2026-09-01", "orange"),
        ("2026-06-01", "1 listed, 1 overdue", "red"),
    ],
)
def test_a_badge(retires: str | None, message: str, color: str) -> None:
    """A badge says how many models are listed, and the next retirement."""
    one = record("a", retires_at=retires and f"{retires}T00:00:00Z")
    badge = json.loads(render(contents([one]))["badge.json"])
    assert badge == {"schemaVersion": 1, "label": "models", "message": message, "color": color}


def test_ids_of_rows_are_unique() -> None:
    """No two rows have the same fragment, whatever their sources and ids contain."""
    pairs = [("a", "b/c"), ("a/b", "c"), ("a", "b c"), ("a", "b%20c"), ("a%2Fb", "c"), ("a", "B/c")]
    models = [record(id_, name) for name, id_ in pairs]
    page = Page(render(contents(models, sources=[source(name) for name, _ in pairs])))
    ids = [a["id"] for a in page.all("li") if "id" in a]
    assert len(set(ids)) == len(pairs)
    assert all(re.fullmatch(r"[!-~]+", id_) for id_ in ids)
    assert [unquote(id_) for id_ in ids] == [f"{name}/{id_}" for name, id_ in pairs]


def test_an_empty_catalog() -> None:
    """A catalog without a model is a page, a feed and a calendar."""
    files = render(contents([]))
    page = Page(files)
    assert "No listed model has a retirement date." in page.text
    assert read_feed(files).feed.updated == "2026-02-01T18:00:00Z"
    assert json.loads(files["models.json"]) == []


# --- the timeline ------------------------------------------------------------------------------


def draw(site):
    content, history = site.content, site.history
    lives = [lifespan(record, history.of(record), content.as_of) for record in content.models]
    axis = Axis.of(lives, content.as_of)
    ids = [record.info.id for record in content.models]
    return (
        dict(zip(ids, map(axis.bar, lives), strict=True)),
        axis,
        dict(zip(ids, lives, strict=True)),
    )


def stages(bar) -> list[str]:
    return [segment.stage for segment in bar.segments]


def test_a_bar_from_release_to_retirement() -> None:
    """A bar starts at the release, changes at the deprecation, and ends at the date or open."""
    bars, axis, lives = draw(catalog())
    assert stages(bars["claude-opus-5"]) == ["live"]
    assert bars["claude-opus-5"].open_end
    assert stages(bars["claude-late"]) == ["live", "late", "ahead"]
    assert bars["claude-late"].segments[-1].x == axis.now
    assert bars["claude-late"].retires > axis.now
    assert not bars["claude-late"].open_end
    assert stages(bars["claude-old"]) == ["gone"]
    assert lives["claude-old"].end == day("2026-04-20")
    assert bars["claude-old"].segments[0].x == 0


def test_an_unknown_release() -> None:
    """A bar of a model with unknown release starts, faded, when it was first seen."""
    _, axis, lives = draw(catalog())
    assert lives["local/llama"].start == BASELINE
    page = render(catalog())["index.html"].decode()
    assert page.count('class="dawn" x=') == 1
    assert axis.begin == datetime(2024, 3, 7, tzinfo=UTC)


def test_an_overdue_model() -> None:
    """The bar of an overdue model reaches to the last sync, and the page says overdue."""
    overdue = record("a", retires_at="2026-06-01T00:00:00Z", lifecycle="deprecated")
    bars, axis, lives = draw(contents([overdue]))
    bar = bars["a"]
    assert lives["a"].overdue
    assert bar.open_end
    assert bar.end == axis.now
    assert bar.retires < axis.now
    assert "overdue" in Page(render(contents([overdue]))).text


def test_the_end_of_a_retired_model() -> None:
    """A retired model's bar ends at its event, or at its date; a later date is not drawn."""
    retired = record("a", lifecycle="retired", retires_at="2026-06-01T00:00:00Z")
    assert draw(contents([retired]))[2]["a"].end == datetime(2026, 6, 1, tzinfo=UTC)
    events = [added(retired), later_event(retired, Kind.RETIRED, "2026-05-30")]
    bars, _, lives = draw(contents([retired], events))
    assert lives["a"].end == day("2026-05-30")
    assert bars["a"].retires is None


def test_absurd_dates() -> None:
    """The timeline spans about twenty years at most, and every bar is inside it."""
    bars, axis, _ = draw(hostile())
    assert axis.end - axis.begin < timedelta(days=25 * 366)
    for bar in bars.values():
        for segment in bar.segments:
            assert 0 <= segment.x <= segment.x + segment.width <= 100.01
            assert segment.width > 0
        assert bar.segments


@pytest.mark.parametrize("days", [0, 1, 20, 100, 400, 1000, 3000, 9000])
def test_the_grid_suits_the_span(days: int) -> None:
    """From two days to decades the axis has one to six labels in order, one with a year."""
    created = NOW - timedelta(days=days)
    ticks = draw(contents([record("a", created_at=created.isoformat())]))[1].ticks()
    assert 1 <= len(ticks) <= 6
    assert any(re.search(r"\d{4}$", tick.label) for tick in ticks)
    assert all(one.x < two.x for one, two in itertools.pairwise(ticks))
