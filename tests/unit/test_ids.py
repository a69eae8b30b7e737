"""Which words of a text are model ids, by example."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog_sync.check.ids import IdPattern
from catalog_sync.demo.history import steps

RECORDED = sorted({model["id"] for step in steps() for model in step.models})
IDS = IdPattern(RECORDED)
GATEWAY = IdPattern(
    ["fast", "o3", "gpt-4.1", "gpt-4.1-mini", "anthropic/claude-x", "claude-x", "@cf/meta/llama"]
)


def found(text: str, ids: IdPattern = IDS) -> list[str]:
    return [text[begin:end] for begin, end in ids.find(text)]


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
        "**{}**",
        "*{}*",
        "***{}***",
        "_{}_",
        "__{}__",
        "~~{}~~",
        "**Use {}** now",
        "*move to {}*, please",
        "_move to {}_",
        "__`{}`__",
        "**{} and others** too",
        "/* {}*/",
        "{}+x",
        "x+{}",
        "x\r\n{}\r\n",
    ],
)
def test_where_an_id_stands(around: str) -> None:
    """Quotes, brackets, punctuation, emphasis, escapes, providers and URLs may surround an id."""
    for model_id in RECORDED:
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
        '"{}*", "*"',
        "{}*/prompts",
        "{}**/x",
        "_my_{}",
        "{}_",
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
    """A part of a longer word, a glob, a template, a pattern or another catalog's id is no id."""
    for model_id in RECORDED:
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
    """A word in the form of a family's ids is found although the catalog never held it."""
    assert word not in RECORDED
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
    """Products, packages, pages, directories and parts of ids are no ids."""
    assert found(f" {word} ") == []


def test_a_gateways_names() -> None:
    """A bare id of one word is not found; of two that overlap, the longer counts."""
    text = "fast o3 gpt-4.1 gpt-4.1-mini gpt-4 anthropic/claude-x claude-x @cf/meta/llama"
    assert found(text, GATEWAY) == [
        "gpt-4.1",
        "gpt-4.1-mini",
        "anthropic/claude-x",
        "claude-x",
        "@cf/meta/llama",
    ]


@pytest.mark.parametrize(
    "text",
    [
        'model="o3"',
        "'o3'",
        "`o3`",
        "model: o3",
        "MODEL_NAME=o3\n",
        "models:\n  - o3\n",
        "openai/o3",
        '"model": "o3",',
        "--model o3",
    ],
)
def test_an_id_of_one_word(text: str) -> None:
    """An id of one word with a digit is found where a text names a model."""
    assert found(text, GATEWAY) == ["o3"]


@pytest.mark.parametrize("text", ["o1, o2, o3", "x = o3", "H2o3", "'o3.py'", '"fast"', "o3-x"])
def test_no_id_of_one_word(text: str) -> None:
    """A variable, a formula or an ordinary word is no id."""
    assert found(text, GATEWAY) == []


@pytest.mark.parametrize("word", ["gpt-5", "gpt-5-latest", "gpt-5-0", "gpt-5-2025-08-07"])
def test_ids_with_dates_of_another_form(word: str) -> None:
    """A dated id and its aliases are found, whatever the family."""
    assert found(f"use {word}.", IdPattern(["gpt-5-2025-08-07"])) == [word]


def test_an_empty_catalog() -> None:
    """Without a family no unrecorded word looks like an id."""
    assert found("claude-opus-4-20250514", IdPattern([])) == []


@given(
    st.lists(st.sampled_from([*RECORDED, "claude-opus-9", "claude-code", "x"]), max_size=20),
    st.sampled_from([" ", "\n", '","', " = ", "\n\n\t"]),
)
def test_each_is_found_once_and_in_order(words: list[str], between: str) -> None:
    """Ids are found in the order of the text, each as often as it occurs."""
    ids = [word for word in words if word not in {"claude-code", "x"}]
    assert found(between.join(words)) == ids


@given(st.lists(st.text("claude-opus4125x./@ \n", max_size=12), max_size=40).map("".join))
def test_what_is_found_is_whole(text: str) -> None:
    """No letter, digit or joiner is next to an id that is found."""
    for begin, end in IDS.find(text):
        before, after = text[:begin][-1:], text[end:][:1]
        assert not before.isalnum()
        assert before != "-"
        assert not after.isalnum()
        assert after not in {"-", "@"}
