"""What is an id in a text, by example."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog_sync.check.ids import IdPattern
from catalog_sync.demo.history import moments

HELD = sorted({model["id"] for moment in moments() for model in moment.models})
MENTIONS = IdPattern(HELD)
GATEWAY = IdPattern(
    ["fast", "o3", "gpt-4.1", "gpt-4.1-mini", "anthropic/claude-x", "claude-x", "@cf/meta/llama"]
)


def found(text: str, mentions: IdPattern = MENTIONS) -> list[str]:
    raw = text.encode()
    return [raw[begin:end].decode() for begin, end in mentions.within(raw)]


@pytest.mark.parametrize(
    "around",
    [
        "{}",
        '"{}"',
        "'{}'",
        "`{}`",
        "model={}",
        "--model={} ",
        "<b>{}</b>",
        "({}),",
        "Use {}.",
        "Use {}. Then",
        "{}: 5",
        "anthropic/{}",
        "anthropic:{}",
        "openrouter/anthropic/{}",
        "https://api.anthropic.com/v1/models/{}",
        "https://example.com/v1/models/{}/versions?x=1",
        "[models.{}]",
        "^{}$",
        "{}:thinking",
        "{}[1m]",
        r'"\n{}\n"',
        r"\b{}\b",
        r"\u0022{}\u0022",
        r"anthropic\/{}",
        "?model=anthropic%2F{}%26x",
        "${{MODEL:-{}}}",
        "使用{}模型",
        "\ufeff{}\u200b",
        "x\r\n{}\r\n",
    ],
)
def test_where_an_id_stands(around: str) -> None:
    """Quotes, brackets, punctuation, escapes, providers, URLs may stand beside an id."""
    for model_id in HELD:
        assert found(around.format(model_id)) == [model_id]


@pytest.mark.parametrize(
    "around",
    [
        "my-{}",
        "my_{}",
        "x{}",
        "{}-thinking",
        "{}_old",
        "{}x",
        "{}.json",
        "{}.5",
        "{}-{{minor}}",
        "{}{{suffix}}",
        "{}${{suffix}}",
        "{}*",
        "{}.*",
        r"{}\.5",
        r"{}\\d+",
        "{}[.-]1",
        "{}(?:-1)?",
        "{}.?1",
        "{}@20250805",
        "anthropic.{}",
        "us.anthropic.{}-v1:0",
    ],
)
def test_where_no_id_stands(around: str) -> None:
    """Part of a longer word, a glob, a template, a pattern or another catalog's id is no id."""
    for model_id in HELD:
        assert found(around.format(model_id)) == []


def test_case_matters() -> None:
    """Ids compare exactly."""
    assert found("Claude-Opus-5 CLAUDE-OPUS-5 claude-opus-5") == ["claude-opus-5"]


@pytest.mark.parametrize(
    "word",
    [
        "claude-opus-4",
        "claude-opus-9",
        "claude-opus-4-2",
        "claude-sonnet-4-0",
        "claude-3-opus-20240229",
        "claude-3-5-sonnet-20241022",
        "claude-3-7-sonnet-latest",
        "claude-haiku-latest",
        "claude-haiku-20270101",
        "claude-fable-5-1-20270101",
        "claude-epic-1-20270131",
        "claude-1-epic-20270131",
    ],
)
def test_looks_like_an_id(word: str) -> None:
    """What is made as the ids of a family is found, though the catalog never held it."""
    assert word not in HELD
    assert found(f'"{word}"') == [word]
    for slash in ("/", r"\/", "%2F"):
        assert found(f"anthropic{slash}{word}") == [word]


@pytest.mark.parametrize(
    "word",
    [
        "claude",
        "claude-code",
        "claude-code-2",
        "claude-opus",
        "claude-sonnet",
        "claude-sonnet-model",
        "claude-api-2",
        "claude-agent-sdk-0-1",
        "claude-epic-1",
        "claude-backup-20260131",
        "claude-opus-4-review",
        "claude-opus-4-20269931",
        "claude-opus-100",
        "claude-opus-4-5-6",
        "claude-2.1",
        "claude-instant-1.2",
        "claude-3.5-sonnet",
        "claude-opus-4.1",
        "claude-v3-opus-20240229",
        "claude.ai",
        "docs/claude-opus-4-5",
        "docs%2Fclaude-opus-4-5",
        "https://www.anthropic.com/news/claude-opus-4-5",
        "anthropic/claude-opus-4-5/prompt.txt",
        "gpt-opus-4",
    ],
)
def test_is_no_id(word: str) -> None:
    """Products, packages, pages, directories and half an id are no id."""
    assert found(f" {word} ") == []


def test_a_gateways_names() -> None:
    """A name of one word is not looked for; of two that overlap, the longer counts."""
    text = "fast o3 gpt-4.1 gpt-4.1-mini gpt-4 anthropic/claude-x claude-x @cf/meta/llama"
    assert found(text, GATEWAY) == [
        "gpt-4.1",
        "gpt-4.1-mini",
        "anthropic/claude-x",
        "claude-x",
        "@cf/meta/llama",
    ]


def test_nothing_is_known_of_an_empty_catalogue() -> None:
    """Without a family nothing looks like an id."""
    assert found("claude-opus-4-20250514", IdPattern([])) == []


@given(
    st.lists(st.sampled_from([*HELD, "claude-opus-9", "claude-code", "x"]), max_size=20),
    st.sampled_from([" ", "\n", '","', " = ", "\n\n\t"]),
)
def test_each_is_found_once_and_in_order(words: list[str], between: str) -> None:
    """Whatever stands in a text, its ids are found in its order, each as often as it stands."""
    ids = [word for word in words if word not in {"claude-code", "x"}]
    assert found(between.join(words)) == ids


@given(st.lists(st.text("claude-opus4125x./@ \n", max_size=12), max_size=40).map("".join))
def test_what_is_found_is_whole(text: str) -> None:
    """Nothing that is found has a letter, a digit or a joiner beside it."""
    raw = text.encode()
    for begin, end in MENTIONS.within(raw):
        before, after = raw[:begin].decode()[-1:], raw[end:].decode()[:1]
        assert not before.isalnum()
        assert before != "-"
        assert not after.isalnum()
        assert after not in {"-", "@"}
