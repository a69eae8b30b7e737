"""Redaction: secrets, and parts of them, never appear in output, logs or files."""

from __future__ import annotations

import json
import re
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from string import ascii_lowercase, ascii_uppercase
from typing import Final
from urllib.parse import quote

REDACTED: Final = "[redacted]"
_PART = 8
"""A part of a secret with at least this many characters is redacted too."""
_SHORTEST = 4
"""Shorter values are ordinary words, not secrets."""
_SCHEMES = ("Bearer ", "Basic ")
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
"""Unlike `str.lower`, this keeps the number of characters."""
_SHORTEST_RECORDED = 12
"""Shorter keys (`ollama`, `not-needed`) are placeholders, and may be words in an answer."""
_PROBE = 4
_FREQUENT = "9876543kwxyvhgbf12-0_mlcipnodasurte"
"""The characters that are frequent in lists of models, the most frequent last."""
_RANDOM = 3
"""A match with at least this many random characters is part of the key, not a coincidence."""
_WORDS = 16
"""A part of a key with this many characters is redacted even if it reads like words."""
_WORD = re.compile(r"[A-Za-z0-9]+")
_READABLE = re.compile(r"[A-Z]?[a-z]{1,9}\d{0,3}|[A-Z]{1,4}\d{0,3}|\d+|.{1,5}")
"""Words that ordinary ids contain: `claude`, `api03`, `GPT`, `20251101`, `8x7b`."""
_PREFIX = re.compile(r"(?:[a-z]+\d{0,3}[-_])*")
"""The fixed prefix of a service's keys, such as `sk-ant-api03-`."""
_GENERATED = 16
"""A random part with at least this many characters was generated, not chosen by a person."""
_HTML = re.compile(r"[\"&'+<>\\`]")
"""Characters that some servers escape in JSON although JSON does not require it."""
_ESCAPE_BEGIN = re.compile(rb"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_ESCAPE_LENGTH = 5
"""The length of `\\u00e9` without its last character."""
_SECRET_NAME = re.compile("auth|cookie|credential|key|pass|secret|token", re.IGNORECASE)
"""Headers with credentials. Others may contain values that answers contain, such as model ids."""


class Redactor:
    """Replaces secrets in texts.

    Args:
        secrets: Header values, keys, tokens or URLs. A value of several words is redacted as a
            whole and word by word, but without the name of an authorization scheme.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        words: set[str] = set()
        for value in secrets:
            for scheme in _SCHEMES:
                value = value.removeprefix(scheme)  # noqa: PLW2901  # the same value without the scheme
            words.update((value, *value.split()))
        words |= {word.replace("\\", "\\\\") for word in words}  # as repr() shows text
        words |= {word.replace("'", "\\'") for word in words}
        words |= {word.replace("\\", "") for word in words}  # see `found_in_traceback`
        words |= {quote(word, safe="") for word in words}
        words = {word.translate(_LOWER) for word in words}
        self._secrets = sorted((w for w in words if len(w) >= _SHORTEST), key=len, reverse=True)
        self._parts = {w[i : i + _PART] for w in self._secrets for i in range(len(w) - _PART + 1)}

    def __call__(self, text: str) -> str:
        """Return `text` with every secret, and every part of one of eight characters, replaced.

        Case is ignored: a key of hexadecimal digits is the same key in capitals.
        """
        hidden, lower = bytearray(len(text)), text.translate(_LOWER)
        for secret in self._secrets:
            start = lower.find(secret)
            while start >= 0:
                hidden[start : start + len(secret)] = b"\1" * len(secret)
                start = lower.find(secret, start + 1)
        if self._parts:
            for start in range(len(text) - _PART + 1):
                if lower[start : start + _PART] in self._parts:
                    hidden[start : start + _PART] = b"\1" * _PART
        if not any(hidden):
            return text
        pieces, end = [], 0
        while (start := hidden.find(1, end)) >= 0:
            pieces += [text[end:start], REDACTED]
            end = hidden.find(0, start)
            if end < 0:
                end = len(text)
        return "".join(pieces) + text[end:]

    def found_in_traceback(self, error: BaseException) -> bool:
        """Return whether the traceback of `error`, with its causes, would show a secret."""
        # Causes quote causes, and each quotation doubles the backslashes.
        text = "".join(traceback.format_exception(error)).replace("\\", "")
        return self(text) != text


class AnswerRedactor:
    """Removes a request's keys from the answer, before the answer is read.

    A whole key is replaced, and so is a part of eight characters with random ones among them. A
    part that reads like words, such as `sk-ant-api03-` or `claude-opus-`, may belong to an ordinary
    id: it is replaced only if it is longer.
    """

    def __init__(self, secret_headers: Mapping[str, str]) -> None:
        spelled: set[str] = set()
        for name, value in secret_headers.items():
            if _SECRET_NAME.search(name):
                scheme = next(filter(value.startswith, _SCHEMES), "")
                spelled.update(_spellings(value.removeprefix(scheme).strip()))
        self._secrets = [_Secret(text) for text in spelled if len(text) >= _SHORTEST_RECORDED]

    def body(self, body: bytes, check: Callable[[], object] = lambda: None) -> bytes:
        """Return a body without the keys. JSON stays valid.

        `check` is called at each place that may be a key, and raises when the work must end.
        """
        pieces, end = [], 0
        spans = sorted(span for secret in self._secrets for span in secret.spans(body, check))
        for start, stop in spans:
            if start >= end:
                pieces += [body[end:start], REDACTED.encode()]
            end = max(end, stop)
        return b"".join([*pieces, body[end:]]) if pieces else body

    def headers(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Return headers without the keys, with names in lower case."""
        return {name.lower(): self.body(text.encode()).decode() for name, text in headers.items()}


class _Secret:
    """Finds a secret, and parts of it, in the bodies of answers."""

    def __init__(self, text: str) -> None:
        self._text = text.encode()
        self._is_random = _random_characters(text)
        # Each part of eight characters contains a probe. One that begins with a rare character
        # is fast to search for, also in a large body.
        self._probes: dict[bytes, list[int]] = defaultdict(list)
        first = 0
        while first <= len(text) - _PART:
            places = range(first, first + _PART - _PROBE + 1)
            offset = min(places, key=lambda at: _FREQUENT.find(text[at]))
            self._probes[self._text[offset : offset + _PROBE]].append(offset)
            first = offset + 1
        self._probe = re.compile(b"|".join(map(re.escape, self._probes)))

    def spans(self, body: bytes, check: Callable[[], object]) -> Iterator[tuple[int, int]]:
        """Yield start and end of each part of the secret in a body."""
        stops: dict[int, int] = {}
        found = self._probe.search(body)
        while found is not None:
            check()
            for offset in self._probes[found[0]]:
                origin = found.start() - offset
                if found.start() < stops.get(origin, 0):
                    continue  # inside a part that an earlier probe found
                start, stop = _common_part(body, self._text, found.start(), offset)
                stops[origin] = stop
                if stop - start >= self._shortest(start - origin, stop - origin):
                    yield start, stop
            found = self._probe.search(body, found.start() + 1)

    def _shortest(self, first: int, last: int) -> int:
        """Return the length from which a match is part of the secret, not a coincidence."""
        if b'"' in self._text:  # in a part of it, the quote may be the end of a string
            return len(self._text)
        is_random = self._is_random.count(1, first, last) >= _RANDOM
        return _PART if is_random else min(_WORDS, len(self._text))


def _spellings(secret: str) -> set[str]:
    """Return the forms in which servers write a secret in JSON."""
    text = json.dumps(secret)[1:-1]
    php = text.replace("/", "\\/")
    go = _HTML.sub(lambda match: f"\\u{ord(match[0]):04x}", secret)
    dotnet = _HTML.sub(lambda match: f"\\u{ord(match[0]):04X}", secret)
    return {text, php, go, dotnet}


def _random_characters(secret: str) -> bytes:
    """Return a mask of a key: 1 for each character of its random part.

    In a generated key, short words at either end of the random part belong to it too.
    """
    mask = bytearray(len(secret))
    words = [match for match in _WORD.finditer(secret) if not _READABLE.fullmatch(match[0])]
    if words:
        start, stop = words[0].start(), words[-1].end()
        if stop - start >= _GENERATED:
            prefix = _PREFIX.match(secret)
            start = min(start, prefix.end() if prefix else 0)
            stop = len(secret) if len(secret) - stop < _GENERATED else stop
        mask[start:stop] = b"\1" * (stop - start)
    return bytes(mask)


def _common_part(body: bytes, secret: bytes, found: int, offset: int) -> tuple[int, int]:
    """Return the longest part of a secret around a position in a body, without half an escape."""
    start, stop, origin = found, found + _PROBE, found - offset
    while start > max(origin, 0) and body[start - 1] == secret[start - 1 - origin]:
        start -= 1
    end = min(origin + len(secret), len(body))
    while stop < end and body[stop] == secret[stop - origin]:
        stop += 1
    while start < stop and _is_inside_escape(body, start):
        start += 1
    while start < stop and _is_inside_escape(body, stop):
        stop -= 1
    return start, stop


def _is_inside_escape(text: bytes, at: int) -> bool:
    """Whether a position in JSON is inside an escape sequence, after its backslash."""
    escape = _ESCAPE_BEGIN.search(text, max(at - _ESCAPE_LENGTH, 0), at)
    if escape is None:
        return False
    backslash = first = escape.start()
    while first > 0 and text[first - 1] == text[backslash]:
        first -= 1
    return (backslash - first) % 2 == 0
