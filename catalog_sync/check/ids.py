r"""Model ids in text: which words are ids, and where an id begins and ends.

The search finds all recorded ids, their aliases, and unrecorded ids in the form of a recorded
family. Ids match as whole words, and case matters:

- No letter, digit, `_` or `-` is next to an id: `claude-opus-4` is not found in
  `claude-opus-4-20250514`. A `.` before a letter or digit belongs to the word (`claude-opus-4.1`,
  `claude-opus-5.json`); a `.` that ends a sentence does not. Markdown emphasis around an id or a
  phrase (`**id**`, `_id_`) does not belong to it.
- A provider (`anthropic/`, `anthropic:`, `models/`), an escape (`\n`, `%2F`) or the `:-` of a
  shell may precede an id. Bedrock's `anthropic.claude-...` and Vertex AI's `claude-...@20250805`
  belong to other catalogs and are not matched. A word that continues as a template (`{`), a glob
  (`*`) or a pattern (`\.`) is not an id.
- An id of one word with a digit, such as `o3`, is found only in quotes, after a provider, after
  `model:` or `model=`, and as an item of a list. One without a digit, such as a gateway's `fast`,
  is an ordinary word and is not searched for.

A family is the first word of recorded ids that consist of a family, a line and a version: `claude`
in `claude-opus-4-1-20250805` and `claude-3-haiku-20240307`. An unrecorded id has one of these
forms:

- family, a known line, and a version, a date or `latest`, in either order: `claude-opus-4-2`,
  `claude-3-opus-20240229`, `claude-3-5-haiku-latest`;
- family, any one word, a version and a date: `claude-epic-1-20270131`.

`claude-code`, `claude-sonnet`, `claude-api-2` and `claude-opus-4-review` have none of these forms.
Directories and web pages may have one, so no `/` may follow an unrecorded id, and only the `/` of
`anthropic/` and `models/` may precede it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from catalog_sync.check.verdicts import aliases

_STEM = re.compile(r"[^\w\s]*\w+[^\w\s](?=\S)")
"""The first word of an id of several words, and the character that joins it to the next."""
_SHAPE = re.compile(
    r"([a-z]+)(?=.*\d)(?:-\d{1,2}){0,2}-([a-z]+)(?:-\d{1,2}){0,2}(?:-20\d{6}|-20\d\d-\d\d-\d\d)?",
    re.ASCII,
)
"""The form of ids of a family: family, version, line, version, date."""
_SHORT = re.compile(r"[A-Za-z]+\d[A-Za-z0-9]*")
"""An id of one word that is specific enough to search for."""
_BEGIN = (
    r"(?<![\w-]STEM)",
    r"(?<=\\[abfnrtv]STEM)",  # "\n" of source code, "\b" of a pattern
    r"(?<=\\u[0-9A-Fa-f]{4}STEM)",  # "\u0022" of JSON
    r"(?<=%[0-9A-F]{2}STEM)",  # "%2F" of a URL
    r"(?<=:-STEM)",  # "${MODEL:-claude-opus-5}" of a shell
)
"""The text that may precede an id, as look-behinds from the end of its stem."""
_NO_DIRECTORY = (
    r"(?<!/STEM)(?<!%2FSTEM)",
    *(
        rf"(?<=\b{directory}{slash}STEM)"
        for directory in ("anthropic", "models")
        for slash in ("/", r"\\/", "%2F")
    ),
)
"""The text that may also precede an unrecorded id."""
# The text after an id must not make it a longer word, a glob, a template, an id of another catalog
# or a pattern of a longer id: `claude-opus-4\.1`, `claude-opus-4[.-]1`, `claude-opus-4(?:-1)?`.
# `**` ends an emphasis, and `*/` ends a comment.
_END = r"(?![\w@{-]|\*(?!\*(?![\w*/.])|/(?!\w))|\.[\w*?+]|\$[\w{]|\\{1,4}[dw.-]|[(\[](?:\?:)?[.-])"
_NUMBERS = r"(?:\d{1,2}-){0,2}"
_DATE = r"20\d\d-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01])"
_LINE = rf"(?=[a-z-]{{0,40}}(?:\d|-latest)){_NUMBERS}%s(?:-\d{{1,2}}){{0,2}}(?:-{_DATE}|-latest)?"
_ANY_LINE = rf"(?=[a-z-]{{0,40}}\d{{1,2}}-){_NUMBERS}[a-z]{{1,32}}(?:-\d{{1,2}}){{0,2}}-{_DATE}"
"""The text after the family in an id of a known line, and of any line."""
_EMPHASIS = re.compile(
    r"""(?<![\w*])(\*{1,3}|_{1,3})(?=[^\W_]|`)([^\n*"'<>{}]{0,300}?[^\s*_])\1(?![\w*])""", re.ASCII
)
"""Emphasis of Markdown and reStructuredText within a line. Its marks are not part of an id."""


class IdPattern:
    """Finds model ids in text. Only letters of ASCII are parts of a word."""

    def __init__(self, recorded: Iterable[str]) -> None:
        self.recorded = frozenset(recorded)
        exact: dict[str, set[str]] = defaultdict(set)
        others: dict[str, set[str]] = defaultdict(set)
        for model_id in self.recorded.union(*map(aliases, self.recorded)):
            if stem := _STEM.match(model_id):
                rest = re.escape(model_id.removeprefix(stem[0]))
                (exact if model_id in self.recorded else others)[stem[0]].add(rest)
            if shape := _SHAPE.fullmatch(model_id):
                others[f"{shape[1]}-"].add(_LINE % shape[2])
        self._patterns = {stem: _pattern(stem, exact[stem], others[stem]) for stem in exact}
        self._patterns |= {
            id_: _short_pattern(id_) for id_ in filter(_SHORT.fullmatch, self.recorded)
        }

    def matches(self, word: str) -> bool:
        """Whether a word is exactly one id."""
        return word in self.recorded or list(self.find(word)) == [(0, len(word))]

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield start and end of each id, in order and without overlaps."""
        # `in` is much faster than a pattern, and most texts contain no stem.
        patterns = [pattern for stem, pattern in self._patterns.items() if stem in text]
        if not patterns:
            return
        text = _EMPHASIS.sub(lambda match: match[2].center(len(match[0])), text)
        spans = [match.span("id") for pattern in patterns for match in pattern.finditer(text)]
        end = 0
        for span in sorted(spans, key=lambda span: (span[0], -span[1])):
            if span[0] >= end:
                end = span[1]
                yield span


def _pattern(stem: str, exact: Iterable[str], others: Iterable[str]) -> re.Pattern[str]:
    """Return the pattern of the ids that begin with a stem.

    It begins with the stem, which is found quickly. Look-behinds check the text before it.

    Args:
        stem: The first word of the ids.
        exact: Patterns of the rest of recorded ids.
        others: Patterns of the rest of aliases, and of ids that look like those of the family.
    """
    first = re.escape(stem)
    begin = rf"(?:{'|'.join(_BEGIN)})(?<!anthropic\.STEM)".replace("STEM", first)
    known = "|".join(sorted(exact, reverse=True))
    whole = rf"{first}{begin}(?:{known}){_END}"
    if others:
        alone = "|".join(_NO_DIRECTORY).replace("STEM", first)
        unseen = "|".join([*sorted(others, reverse=True), _ANY_LINE])
        whole += rf"|{first}{begin}(?:{alone})(?:{unseen})(?!/){_END}"
    return re.compile(rf"(?P<id>{whole})", re.ASCII)


def _short_pattern(model_id: str) -> re.Pattern[str]:
    """Return the pattern of an id of one word, which counts only where a model is expected."""
    return re.compile(
        r"""(?:(?P<quote>["'`])|\b(?:openai|models)[/:]"""
        r"""|(?i:model)\w*["']?\s{0,8}[:=]\s{0,8}["']?|--model\s|^\s{0,40}[-*]\s{1,4})"""
        rf"""(?P<id>{re.escape(model_id)})(?![\w-])(?(quote)(?P=quote)|(?!\.\w))""",
        re.MULTILINE | re.ASCII,
    )
