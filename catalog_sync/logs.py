"""Logging: one line per record on standard error, as text or as JSON.

Only this program's loggers are shown: debug output of libraries may contain secrets.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

from catalog_sync.text import escape_controls

LOGGER_NAME = "catalog_sync"
_source: ContextVar[str | None] = ContextVar("source", default=None)


@contextmanager
def source(name: str) -> Iterator[None]:
    """Add a source's name to every log line that this thread writes in the block."""
    token = _source.set(name)
    try:
        yield
    finally:
        _source.reset(token)


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    facts: dict[str, Any] = getattr(record, "fields", {})
    name = _source.get()
    return facts if name is None or "source" in facts else {"source": name, **facts}


def fields(**values: Any) -> dict[str, dict[str, Any]]:
    """Return the `extra` argument of a log call: values that both formats print by name."""
    return {"fields": values}


class _TextFormatter(logging.Formatter):
    """`2026-07-24T18:12:21Z INFO synced source=anthropic models=10`."""

    def format(self, record: logging.LogRecord) -> str:
        facts = _facts(record)
        words = [_instant(record), record.levelname, escape_controls(record.getMessage())]
        words += [f"{key}={_text(value)}" for key, value in facts.items() if value is not None]
        if record.exc_info:
            words.append("\n" + self.formatException(record.exc_info))
        return " ".join(words)


class _JsonFormatter(logging.Formatter):
    """One object per line, with the `fields` beside `time`, `level` and `message`."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": _instant(record),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **_facts(record),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


def _instant(record: logging.LogRecord) -> str:
    return f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _text(value: Any) -> str:
    """Return a value as one word, quoted if it contains spaces, quotes or control characters."""
    text = str(value)
    if text and text.isprintable() and not any(c in ' "=' for c in text):
        return text
    return json.dumps(text, ensure_ascii=False)


def error(text: str, cause: BaseException | None) -> None:
    """Print the error that ended the program, as a line or as a JSON object.

    Standard error may be full. The exit code still states the error.
    """
    logger = logging.getLogger(LOGGER_NAME)
    shown = cause if logger.isEnabledFor(logging.DEBUG) else None
    if any(isinstance(handler.formatter, _JsonFormatter) for handler in logger.handlers):
        logger.error(text, exc_info=shown)
        return
    with suppress(OSError):
        if shown is not None:
            traceback.print_exception(shown)
        print(f"catalog-sync: {text}", file=sys.stderr)  # noqa: T201


def show_progress() -> None:
    """Show INFO lines too, as the daemon does."""
    logger = logging.getLogger(LOGGER_NAME)
    logger.setLevel(min(logger.level, logging.INFO))


def configure(style: Literal["text", "json"], *, verbose: bool) -> None:
    """Write this program's logs to standard error: warnings, or everything with `verbose`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if style == "json" else _TextFormatter())
    logger = logging.getLogger(LOGGER_NAME)
    logger.handlers = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.WARNING)
    logger.propagate = False
    # Without a handler, Python prints warnings of libraries unformatted.
    logging.getLogger().handlers = [logging.NullHandler()]
