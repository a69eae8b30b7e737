"""The lines of a message: the facts about each model, and their text.

Lines are rendered as text and as Markdown. Text from APIs and servers is escaped.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from catalog_sync.domain.event_text import deadline_text, facts, model_info
from catalog_sync.domain.kinds import ENDING, LEAVING, Kind
from catalog_sync.domain.model import Event
from catalog_sync.text import age_text, count, one_line

_MAX_FACTS: Final = 3
_MAX_FACT_LENGTH: Final = 200
_SUBJECT_LENGTH: Final = 200


@dataclass(frozen=True, slots=True)
class _Words:
    """The words for a kind of event."""

    label: str
    """In the subject of a single event, before the model's name."""
    verb: str
    """In a line, after the model's name. Empty if the kind has no model."""
    adjective: str
    """In a subject that counts models."""
    severity: str
    """Apprise's name for the severity."""


# In the order of lines and subjects: the most severe first.
_WORDS: Final = {
    Kind.RETIRED: _Words("Retired", "was retired", "retired", "failure"),
    Kind.REMOVED: _Words("Removed", "was removed", "removed", "failure"),
    Kind.RETIRING: _Words("Retiring", "retires soon", "retiring", "warning"),
    Kind.DEPRECATED: _Words("Deprecated", "was deprecated", "deprecated", "warning"),
    Kind.RESCHEDULED: _Words("Rescheduled", "was rescheduled", "rescheduled", "warning"),
    Kind.ADDED: _Words("New model", "is new", "new", "info"),
    Kind.RETURNED: _Words("Back", "is back", "returned", "success"),
    Kind.UPDATED: _Words("Updated", "was updated", "updated", "info"),
    Kind.SCHEMA_CHANGED: _Words("All models changed", "", "", "info"),
    Kind.SYNC_FAILED: _Words("Sync fails", "", "", "failure"),
    Kind.SYNC_HELD: _Words("Sync held", "", "", "warning"),
    Kind.SYNC_RECOVERED: _Words("Sync works again", "", "", "success"),
}
_ORDER: Final = {kind: number for number, kind in enumerate(_WORDS)}
_SEVERITIES: Final = ("failure", "warning", "info", "success")
_IMPLIED: Final = {
    kind: frozenset({"lifecycle", "deprecated_at"})
    for kind in (Kind.RETIRED, Kind.REMOVED, Kind.RETIRING, Kind.DEPRECATED)
} | {Kind.RESCHEDULED: frozenset({"deprecated_at"})}
"""Changed paths that the words of a kind already imply."""


@dataclass(frozen=True, slots=True)
class Line:
    """The part of a message about one model, about all models, or about the job."""

    kind: Kind
    """The most severe kind of its events."""
    name: str
    model_id: str | None
    verb: str
    facts: tuple[str, ...]
    successor: str | None = None


# --- facts -----------------------------------------------------------------------------------


def severity_of(events: Iterable[Event]) -> str:
    """Return the severity of the most severe event: failure, warning, info or success."""
    return min(map(_severity, events), key=_SEVERITIES.index)


def _severity(event: Event) -> str:
    info = model_info(event)
    ends = info is not None and info.lifecycle in LEAVING
    if event.kind is Kind.RETURNED and ends:
        return "warning"  # listed again, but about to leave
    return _WORDS[event.kind].severity


def display_name(event: Event) -> str | None:
    """Return the model's name as received; None without a model or its object."""
    info = model_info(event)
    return info.display_name if info else None


def full_name(name: str, model_id: str) -> str:
    """Return a model's name with its id, such as "Claude Opus 5 (claude-opus-5)"."""
    return f"{name} ({model_id})" if name.strip() not in {"", model_id} else model_id


def lines_of(events: Sequence[Event], successors: Mapping[str, str]) -> list[Line]:
    """Return one line per model and one per event without a model, the most severe first.

    The events are those of one source, oldest first. `successors` are the names of the models to
    move to, by the id of the model that leaves.
    """
    groups: dict[object, list[Event]] = {}
    for event in events:
        key = event.model_id if event.model_id is not None else (event.kind, event.occurred_at)
        groups.setdefault(key, []).append(event)
    lines = [_line(group, successors, _MAX_FACTS) for group in groups.values()]
    return sorted(lines, key=lambda line: _ORDER[line.kind])


def whole_sentence(event: Event) -> str:
    """Return everything that an event states, as plain text on one line."""
    line = _line([event], {}, len(event.changes) + _MAX_FACTS)
    return sentence(line, lambda text: one_line(text, None))


def _line(events: Sequence[Event], successors: Mapping[str, str], max_facts: int) -> Line:
    """Merge the events of one model into a line."""
    last = events[-1]
    if last.model_id is None:
        return Line(last.kind, _WORDS[last.kind].label, None, "", _facts(last, max_facts))
    kinds = list(dict.fromkeys(event.kind for event in events))
    kind = min(kinds, key=_ORDER.__getitem__)
    payload = next((event.payload for event in reversed(events) if event.payload), None)
    merged = replace(last, kind=kind, changes=_merged(events), payload=payload)
    return Line(
        kind,
        one_line(display_name(merged) or "") or last.model_id,
        last.model_id,
        ", then ".join(_WORDS[each].verb for each in kinds),
        _facts(merged, max_facts),
        successors.get(last.model_id) if kind in ENDING else None,
    )


def _merged(events: Sequence[Event]) -> dict[str, Mapping[str, Any]]:
    """Merge the changes of a model's events: the first old value and the last new value."""
    changes: dict[str, Mapping[str, Any]] = {}
    for event in events:
        for path, change in event.changes.items():
            first = changes.get(path, change)
            changes[path] = {**change, "old": first["old"]} if "old" in first else change
    return changes


def _facts(event: Event, limit: int) -> tuple[str, ...]:
    """Return the first facts of an event, shortened, and the number of the others."""
    texts = facts(event, _IMPLIED.get(event.kind, ()))
    if event.kind.startswith("sync_"):
        return tuple(texts)
    shown = [one_line(text, _MAX_FACT_LENGTH) for text in texts[:limit]]
    return tuple(shown + [f"+{len(texts) - limit} more"] * (len(texts) > limit))


# --- rendering -------------------------------------------------------------------------------


def subject_of(lines: Sequence[Line], events: Sequence[Event]) -> str:
    """Summarize the only change, or count the changes of each kind."""
    if len({event.run_id for event in events}) > 1:
        length = age_text(events[-1].occurred_at - events[0].occurred_at)
        return f"{count(len(events), 'change')} in {length}"
    if len(lines) == 1:
        return one_line(_headline(lines[0], events[-1]), _SUBJECT_LENGTH)
    counts = Counter(line.kind for line in lines)
    parts: list[str] = []
    for kind, words in _WORDS.items():
        if (number := counts[kind]) and words.adjective:
            noun = "" if parts else " model" if number == 1 else " models"
            parts.append(f"{number} {words.adjective}{noun}")
        elif number:
            parts.append(words.label if not parts else words.label[0].lower() + words.label[1:])
    return ", ".join(parts)


def _headline(line: Line, event: Event) -> str:
    label = _WORDS[line.kind].label
    if line.kind is Kind.SCHEMA_CHANGED:
        paths = list(event.changes)
        more = [f"+{len(paths) - _MAX_FACTS} more"] * (len(paths) > _MAX_FACTS)
        return f"{label}: {', '.join(paths[:_MAX_FACTS] + more)}"
    if line.model_id is None:
        return f"{label}: source {event.source}"
    name = full_name(line.name, line.model_id)
    info = model_info(event)
    if line.kind is Kind.RETIRING and info and info.retires_at:
        name += f", {deadline_text(info.retires_at, event.occurred_at)}"
    return f"{label}: {name}"


def sentence(line: Line, mark: Callable[[str], str], strong: str = "{}") -> str:
    """Return a line's sentence: "Claude Opus 4.5 was removed (claude-opus-4-5). Successor: …".

    `mark` escapes foreign text: `chat_text` or `chat_markdown`. `strong` is the format of the name.
    """
    name = strong.format(mark(line.name))
    stated = ", ".join(mark(fact) for fact in line.facts)
    if line.model_id is None:
        return f"{name}: {stated}"
    model_id = "" if line.name == line.model_id else f" ({mark(line.model_id)})"
    end = f": {stated}." if stated else "."
    successor = f" Successor: {mark(line.successor)}." if line.successor else ""
    return f"{name} {line.verb}{model_id}{end}{successor}"


_BREAK: Final = "\u200b"
"""A zero-width space. It is invisible and breaks mentions and links."""
_ACTIVE: Final = re.compile(
    r"(?<=@)(?!(?<=\w@)\d)(?=\S)"  # @everyone, @**all**, <@&42>, an address; not model@20260101
    r"|(?<=<)(?=[@!#]|at\b|users/)"  # <!channel>, <#C1>, <at>all</at>, <users/all>
    r"|(?<=#)(?=[^\W\d]|\*)"  # #channel, #**stream**
    r"|(?<=\])(?=\()"  # [x](http://…)
    r"|(?<=:)(?=//)|(?<=\bwww)(?=\.)"  # http://…, www.…
    r"|(?<=\bmailto)(?=:)|(?<=\btel)(?=:)"
    r"|(?<=\|)(?=\|)",  # ||hidden||
    re.IGNORECASE,
)
"""The positions within mentions and links at which a `_BREAK` disables them."""
_HTML: Final = re.compile(r"(?<=<)(?=[a-z/?])|(?<=&)(?=#|\w+;)", re.IGNORECASE)
_MARKS: Final = re.compile(r"[\\`*~]|(?<![^\W_])_|_(?![^\W_])")
"""The characters that format text. An underscore inside a word does not."""


def chat_text(text: str) -> str:
    """Return foreign text as one line without mentions and links, for chats.

    Covers the syntax of Discord, Slack, Mattermost, Rocket.Chat, Zulip, ntfy, Telegram, Teams,
    Google Chat, Matrix and Lark. Names such as `R&D <beta>` stay unchanged.
    """
    return _ACTIVE.sub(_BREAK, one_line(text))


def chat_markdown(text: str) -> str:
    """Return foreign text as `chat_text` does, escaped for Markdown.

    Only formatting characters are escaped: Rocket.Chat, Slack and others show other backslashes.
    """
    return _ACTIVE.sub(_BREAK, _HTML.sub(_BREAK, _MARKS.sub(r"\\\g<0>", one_line(text))))
