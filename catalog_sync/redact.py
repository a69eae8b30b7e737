"""Redaction: secrets, and parts of them, never appear in texts for people or in files."""

from __future__ import annotations

import json
import re
import traceback
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

REDACTED: Final = "[redacted]"
_PART = 8
"""A part of a secret with this many characters, or more, is redacted too."""
_SHORTEST = 4
"""Shorter values are everyday words, not secrets."""
_SCHEMES = ("Bearer ", "Basic ")
_SHORTEST_RECORDED = 12
"""Shorter keys (`ollama`, `not-needed`) are placeholders, and may be words of an answer."""
_SECRET_NAME = re.compile("auth|cookie|credential|key|pass|secret|token", re.IGNORECASE)
"""Headers that prove who asks. Others may hold what answers hold too, such as a model's id."""


class Redactor:
    """Replaces secrets in texts.

    Args:
        secrets: Header values, keys, tokens or URLs. A value of several words counts as a whole and
            by its words; the name of an authorization scheme is not part of the secret.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        words: set[str] = set()
        for value in secrets:
            for scheme in _SCHEMES:
                value = value.removeprefix(scheme)  # noqa: PLW2901  # the same value without the scheme
            words.update((value, *value.split()))
        words |= {word.replace("\\", "\\\\") for word in words}  # as repr() shows text
        words |= {word.replace("'", "\\'") for word in words}
        words |= {word.replace("\\", "") for word in words}  # see `found_in_traceback`
        words |= {quote(word, safe="") for word in words}
        self._secrets = sorted((w for w in words if len(w) >= _SHORTEST), key=len, reverse=True)
        self._parts = {w[i : i + _PART] for w in self._secrets for i in range(len(w) - _PART + 1)}

    def __call__(self, text: str) -> str:
        """Return `text` with every secret, and every part of one of eight characters, replaced."""
        hidden = bytearray(len(text))
        for secret in self._secrets:
            start = text.find(secret)
            while start >= 0:
                hidden[start : start + len(secret)] = b"\1" * len(secret)
                start = text.find(secret, start + 1)
        if self._parts:
            for start in range(len(text) - _PART + 1):
                if text[start : start + _PART] in self._parts:
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

    def found_in(self, text: str) -> bool:
        """Return whether `text` holds a secret or a part of one."""
        return self(text) != text

    def found_in_traceback(self, error: BaseException) -> bool:
        """Return whether the traceback of `error`, with its causes, would show a secret."""
        # Causes quote causes, and each quotation doubles the backslashes.
        return self.found_in("".join(traceback.format_exception(error)).replace("\\", ""))


class AnswerRedactor:
    """Replaces the keys that a request sent in the answer to it, before the answer is read.

    Args:
        secret_headers: Sent with every request.
    """

    def __init__(self, secret_headers: Mapping[str, str]) -> None:
        secrets: set[str] = set()
        for name, value in secret_headers.items():
            if _SECRET_NAME.search(name):
                scheme = next(filter(value.startswith, _SCHEMES), "")
                secrets.add(value.removeprefix(scheme).strip())
        spelled = {json.dumps(secret)[1:-1] for secret in secrets} | secrets
        spelled |= {secret.replace("/", "\\/") for secret in spelled}  # as PHP writes JSON
        kept = (secret for secret in spelled if len(secret) >= _SHORTEST_RECORDED)
        self._secrets = sorted(kept, key=len, reverse=True)

    def body(self, body: bytes) -> bytes:
        """Return a body without the keys."""
        for secret in self._secrets:
            body = body.replace(secret.encode(), REDACTED.encode())
        return body

    def headers(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Return an answer's headers without the keys."""
        if not any(secret in value for secret in self._secrets for value in headers.values()):
            return headers
        return {name.lower(): self._text(value) for name, value in headers.items()}

    def _text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        return text
