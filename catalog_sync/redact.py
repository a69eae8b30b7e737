"""Redaction: secrets, and parts of them, never appear in output, logs or files."""

from __future__ import annotations

import json
import re
import traceback
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias
from urllib.parse import quote

REDACTED: Final = "[redacted]"
_PART = 8
"""A part of a secret with at least this many characters is redacted too."""
_SHORTEST = 4
"""Shorter values are ordinary words, not secrets."""
_SCHEMES = ("Bearer ", "Basic ")
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
_SECRET_NAME = re.compile("auth|cookie|credential|key|pass|secret|token", re.IGNORECASE)
"""Headers with credentials. Others may contain values that answers contain, such as model ids."""
_Parts: TypeAlias = dict[int, set[str]]
"""The texts to redact, by their length. The parts of a long text overlap, and so cover it."""


class Redactor:
    """Replaces secrets, and every part of one of eight characters, in texts.

    Args:
        secrets: Header values, keys, tokens or URLs. A value of several words is redacted as a
            whole and word by word, but without the name of an authorization scheme.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        words: set[str] = set()
        for value in secrets:
            secret = _without_scheme(value)
            words.update((secret, *secret.split()))
        words |= {word.replace("\\", "\\\\") for word in words}  # as repr() shows text
        words |= {word.replace("'", "\\'") for word in words}
        words |= {word.replace("\\", "") for word in words}  # see `found_in_traceback`
        words |= {quote(word, safe="") for word in words}
        self._parts: _Parts = defaultdict(set)
        for word in words:
            if len(word) >= _SHORTEST:
                length = min(len(word), _PART)
                self._parts[length].update(_windows(word, length))

    def __call__(self, text: str) -> str:
        """Return `text` with the secrets and their parts replaced."""
        return _redacted(text, self._parts)

    def found_in_traceback(self, error: BaseException) -> bool:
        """Return whether the traceback of `error`, with its causes, would show a secret."""
        # Causes quote causes, and each quotation doubles the backslashes.
        text = "".join(traceback.format_exception(error)).replace("\\", "")
        return self(text) != text


class AnswerRedactor:
    """Removes a request's keys from the answer, before the answer is read.

    A part of eight characters with random ones among them is replaced. A part that reads like
    words, such as `sk-ant-api03-` or `claude-opus-`, may belong to an ordinary id: it is replaced
    only if it is longer, or the whole key.
    """

    def __init__(self, secret_headers: Mapping[str, str]) -> None:
        self._parts: _Parts = defaultdict(set)
        probes: set[str] = set()
        for name, value in secret_headers.items():
            secret = _without_scheme(value)
            if _SECRET_NAME.search(name) and len(secret) >= _SHORTEST_RECORDED:
                for text in _spellings(secret):
                    _add_recognizable_parts(self._parts, text)
                    probes.update(_probes(text))
        self._probe = re.compile("|".join(map(re.escape, probes)) or "(?!)")

    def body(self, body: bytes) -> bytes:
        """Return a body without the keys."""
        text = body.decode("latin-1")
        return _redacted(text, self._parts).encode("latin-1") if self._repeats_key(text) else body

    def headers(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Return headers without the keys, with names in lower case."""
        return {name.lower(): _redacted(text, self._parts) for name, text in headers.items()}

    def _repeats_key(self, body: str) -> bool:
        """Whether a body contains a part of a key. Fast, also for a large body."""
        found = self._probe.search(body)
        while found is not None:
            for length, parts in self._parts.items():
                around = body[max(found.end() - length, 0) : found.start() + length]
                if not parts.isdisjoint(_windows(around, length)):
                    return True
            found = self._probe.search(body, found.start() + 1)
        return False


def _redacted(text: str, parts: _Parts) -> str:
    hidden = bytearray(len(text))
    for length, secrets in parts.items():
        for start, window in enumerate(_windows(text, length)):
            if window in secrets:
                hidden[start : start + length] = b"\1" * length
    if not any(hidden):
        return text
    pieces, end = [], 0
    while (start := hidden.find(1, end)) >= 0:
        pieces += [text[end:start], REDACTED]
        end = hidden.find(0, start)
        if end < 0:
            end = len(text)
    return "".join(pieces) + text[end:]


def _windows(text: str, length: int) -> Iterator[str]:
    return (text[start : start + length] for start in range(len(text) - length + 1))


def _without_scheme(header: str) -> str:
    scheme = next(filter(header.startswith, _SCHEMES), "")
    return header.removeprefix(scheme).strip()


def _spellings(secret: str) -> set[str]:
    """Return the forms in which servers write a secret in JSON."""
    text = json.dumps(secret)[1:-1]
    php = text.replace("/", "\\/")
    go = _HTML.sub(lambda match: f"\\u{ord(match[0]):04x}", secret)
    dotnet = _HTML.sub(lambda match: f"\\u{ord(match[0]):04X}", secret)
    return {text, php, go, dotnet}


def _add_recognizable_parts(parts: _Parts, secret: str) -> None:
    """Add the parts of a key that cannot be words of an ordinary answer."""
    is_random = _random_characters(secret)
    for start, window in enumerate(_windows(secret, _PART)):
        if is_random.count(1, start, start + _PART) >= _RANDOM:
            parts[_PART].add(window)
    longer = min(_WORDS, len(secret))
    parts[longer].update(_windows(secret, longer))


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


def _probes(text: str) -> Iterator[str]:
    """Yield short texts, at least one of which every part of eight characters contains.

    A probe that begins with a rare character is fast to search for.
    """
    first = 0
    while first <= len(text) - _PART:
        places = range(first, first + _PART - _PROBE + 1)
        offset = min(places, key=lambda at: _FREQUENT.find(text[at]))
        yield text[offset : offset + _PROBE]
        first = offset + 1
