"""Redaction of secrets in quoted texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog_sync.redact import Redactor

KEY = "sk-ant-test-4f1c9a27"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (f"the key {KEY} is wrong", "the key [redacted] is wrong"),
        (f"{KEY}{KEY}", "[redacted]"),
        (f"cut: {KEY[:12]}…", "cut: [redacted]…"),
        (f"cut: …{KEY[-8:]}", "cut: …[redacted]"),
        (f"short: {KEY[:7]}", f"short: {KEY[:7]}"),
        ("nothing", "nothing"),
        ("", ""),
    ],
)
def test_secrets_and_their_parts(text: str, redacted: str) -> None:
    """A secret, and every part of at least eight characters, is replaced; the rest stays."""
    assert Redactor([KEY])(text) == redacted


def test_authorization_schemes_are_words() -> None:
    """The scheme of an Authorization header is no secret."""
    redact = Redactor([f"Bearer {KEY}"])
    assert redact(f"expected Bearer, got {KEY}") == "expected Bearer, got [redacted]"


@pytest.mark.parametrize("secret", ["it's-extra\\secret", "a+b/c=d&e"])
def test_quoted_secrets(secret: str) -> None:
    """A secret is recognised as Python and URLs quote it."""
    from urllib.parse import quote

    redact = Redactor([secret])
    for text in (secret, repr(secret), repr(secret.encode()), quote(secret, safe="")):
        assert redact(text).strip("b'\"") == "[redacted]"


@given(st.text(max_size=40), st.text(min_size=8, max_size=30), st.text(max_size=40))
def test_nothing_of_a_secret_is_left(before: str, secret: str, after: str) -> None:
    """No eight characters of a secret remain, whatever surrounds it."""
    redacted = Redactor([secret])(before + secret + after).replace("[redacted]", "\0\0\0\0")
    words = [secret, *secret.split()]
    parts = {word[i : i + 8] for word in words for i in range(len(word) - 7)}
    assert not any(part in redacted for part in parts if "\0" not in part)
