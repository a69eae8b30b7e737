"""Redaction of secrets in quoted texts."""

from __future__ import annotations

import json
import re
import string
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_sync.demo import history
from catalog_sync.errors import DeadlineError
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
        (f"THE KEY {KEY.upper()} IS WRONG, İ", "THE KEY [redacted] IS WRONG, İ"),
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
        ({"x-api-key": "ab+cd/9f8e7d6c"}, "ab\\u002Bcd/9f8e7d6c", "[redacted]"),
        ({"x-api-key": "ollama"}, "owned_by ollama", "owned_by ollama"),
        ({"x-default-model": "claude-opus-5-20260724"}, "claude-opus-5-20260724", None),
        ({"x-api-key": KEY}, f"cut: {KEY[:16]}…", "cut: [redacted]…"),
        ({"x-api-key": KEY}, f"cut: …{KEY[-8:]}", "cut: …[redacted]"),
        ({"x-api-key": KEY}, "not cut: sk-ant-test-", None),
        (
            {"x-api-key": "our-claude-opus-key"},
            "our-claude-opus-key, claude-opus-4",
            "[redacted], claude-opus-4",
        ),
        ({"x-api-key": "our-claude-opus-key"}, "our-claude-opus-k…", "[redacted]…"),
        ({"x-api-key": "team-9f3k2c7-20251101"}, "claude-opus-4-5-20251101", None),
    ],
)
def test_keys_in_answers(headers: dict[str, str], body: str, redacted: str | None) -> None:
    """A key that a server repeats, or its random part, is not recorded; words of ids stay."""
    assert AnswerRedactor(headers).body(body.encode()).decode() == (redacted or body)


@pytest.mark.parametrize("part", [KEY, KEY[-7:]])
def test_search_ends_at_the_deadline(part: str) -> None:
    """The search for a key in an answer full of its parts ends when the walk must end."""
    checks = iter(range(1000))

    def check() -> None:
        if next(checks) == 3:
            raise DeadlineError("not finished")

    with pytest.raises(DeadlineError):
        AnswerRedactor({"x-api-key": KEY}).body(part.encode() * 100, check)


def test_keys_in_headers_of_answers() -> None:
    """A key that a server repeats in a header is struck out too."""
    redact = AnswerRedactor({"x-api-key": KEY})
    assert redact.headers({"request-id": f"r-{KEY}"}) == {"request-id": "r-[redacted]"}
    assert redact.headers({"Date": "today"}) == {"date": "today"}


def keys(draw: st.DrawFn) -> tuple[str, str]:
    """Return a key's public prefix and its random part, as services make them."""
    prefix, alphabet, length = draw(
        st.sampled_from(
            [
                ("sk-ant-api03-", string.ascii_letters + string.digits + "-_", 95),
                ("sk-ant-oat01-", string.ascii_letters + string.digits + "-_", 80),
                ("sk-proj-", string.ascii_letters + string.digits + "-_", 120),
                ("sk-or-v1-", "0123456789abcdef", 64),
                ("gsk_", string.ascii_letters + string.digits, 52),
                ("", string.ascii_letters + string.digits + "+/", 44),
            ]
        )
    )
    drawn = Random(draw(st.integers()))  # Hypothesis would make the least random keys
    part = "".join(drawn.choices(alphabet, k=length))
    return prefix, part


KEYS = st.composite(keys)()
SPELLINGS = (
    json.dumps,
    lambda value: json.dumps(value).replace("/", "\\/"),
    lambda value: json.dumps(value, ensure_ascii=False).replace("+", "\\u002B"),
)


@given(KEYS, st.data())
def test_no_part_of_a_key_is_recorded(key: tuple[str, str], data: st.DataObject) -> None:
    """Of a key that a server repeats, whole or cut, no eight random characters are recorded."""
    prefix, random = key
    whole = prefix + random
    start = data.draw(st.integers(0, len(whole) - 8))
    end = data.draw(st.integers(start + 8, len(whole)))
    before, after = data.draw(st.tuples(st.text(max_size=12), st.text(max_size=12)))
    said = before + whole[start:end] + after
    answer = {"data": [{"id": said, "display_name": "Model", "capabilities": {said: [said]}}]}
    body = data.draw(st.sampled_from(SPELLINGS))(answer)
    redacted = AnswerRedactor({"x-api-key": whole}).body(body.encode())
    kept = json.dumps(json.loads(redacted))
    words = [random[i : i + 8] for i in range(len(random) - 7)]
    assert not [word for word in words if word in kept and word not in before + after]


ORDINARY = [release["id"] for release in history._record()["releases"]] + [
    "gpt-5-2025-08-07", "mixtral-8x7b-instruct-v0.1", "Meta-Llama-3.1-70B-Instruct-FP8",
    "anthropic/claude-3.5-sonnet:beta", "o3-mini-2025-01-31", "text-embedding-3-large",
]  # fmt: skip


@given(KEYS, st.lists(st.sampled_from(ORDINARY)), st.text(max_size=50))
def test_ordinary_answers_are_not_changed(key: tuple[str, str], ids: list[str], text: str) -> None:
    """No key changes an answer that does not repeat it, even a key that contains words of ids."""
    body = json.dumps({"data": [{"id": each, "display_name": text} for each in ids]}).encode()
    for secret in ("".join(key), "our-claude-opus-key", "mixtral-8x7b-token", "gpt-5-20250807-key"):
        assert AnswerRedactor({"authorization": f"Bearer {secret}"}).body(body) == body


ESCAPED = '/\\"\n\t\u00e9\U0001f600n4'


@given(st.text(f"aB1{ESCAPED}", min_size=12, max_size=20), st.data())
@settings(max_examples=300)
def test_an_answer_stays_json(secret: str, data: st.DataObject) -> None:
    """Around a key that is struck out, an answer says what it said: no escape is cut."""
    part = data.draw(st.tuples(st.integers(0, 6), st.integers(8, 20)))
    around = st.text(f"u0{ESCAPED}", max_size=9)
    said = data.draw(around) + secret[part[0] : part[1]] + data.draw(around)
    body = data.draw(st.sampled_from(SPELLINGS))(said).encode()
    redacted = json.loads(AnswerRedactor({"x-api-key": secret}).body(body))
    kept = ".*".join(map(re.escape, redacted.split("[redacted]")))
    assert re.fullmatch(kept, said, re.DOTALL)
