"""Redaction of secrets in quoted texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog_sync.redact import AnswerRedactor, Redactor

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


@pytest.mark.parametrize(
    ("headers", "body", "redacted"),
    [
        ({"x-api-key": KEY}, f'{{"id": "a {KEY}"}}', '{"id": "a [redacted]"}'),
        ({"authorization": f"Bearer {KEY}"}, f'{{"{KEY}": 1}}', '{"[redacted]": 1}'),
        ({"cf-access-client-secret": "ab/cd/efgh/ijk"}, "ab\\/cd\\/efgh\\/ijk", "[redacted]"),
        ({"x-api-key": "ollama"}, "owned_by ollama", "owned_by ollama"),
        ({"x-default-model": "claude-opus-5-20260724"}, "claude-opus-5-20260724", None),
    ],
)
def test_keys_in_answers(headers: dict[str, str], body: str, redacted: str | None) -> None:
    """A key that a server repeats is struck out before anything is recorded; words stay."""
    assert AnswerRedactor(headers).body(body.encode()).decode() == (redacted or body)


def test_keys_in_headers_of_answers() -> None:
    """A key that a server repeats in a header is struck out too."""
    redact = AnswerRedactor({"x-api-key": KEY})
    assert redact.headers({"Request-Id": f"r-{KEY}"}) == {"request-id": "r-[redacted]"}
    assert redact.headers({"Date": "today"}) == {"Date": "today"}
