r"""Where a text mentions models: what an id is, and where one begins and ends. Pure.

Looked for are the ids that the catalog ever held, and ids that look like those of its families
but were never held. Both are matched whole, exactly and with their case:

- No letter, digit, `_` or `-` stands beside an id, so that `claude-opus-4` is not found in
  `claude-opus-4-20250514`. A `.` before a letter or digit belongs to the word (`claude-opus-4.1`,
  `claude-opus-5.json`), a `.` that ends a sentence does not.
- A provider may stand before it (`anthropic/`, `anthropic:`, `models/`), and so may an escape
  (`\n`, `%2F`) or a shell's `:-`. But Bedrock's `anthropic.claude-…` and Vertex'
  `claude-…@20250805` are ids of other catalogs, with dates of their own, and so is what goes on
  as a template (`{`), a glob (`*`) or a pattern (`\.`) no id.
- An id of one word, such as a gateway's `fast`, is a word of any text: it is not looked for.

A family is the first word of the held ids that are made of it, a line's name and a version:
`claude` of `claude-opus-4-1-20250805` and `claude-3-haiku-20240307`. Never held, but an id, is

- family, a line that is known, and a version, a date or `latest`, in either order:
  `claude-opus-4-2`, `claude-3-opus-20240229`, `claude-sonnet-4-0`, `claude-3-5-haiku-latest`;
- family, any one word, a version and a date: `claude-epic-1-20270131`.

So `claude-code`, `claude-sonnet`, `claude-api-2` and `claude-opus-4-review` are none. As a
directory or a page has such names as well, a never held one stands behind no `/` but that of
`anthropic/` and `models/`, and before none.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


_SEVERAL_WORDS = re.compile(r"[^\w\s]*\w+[^\w\s](?=\S)")
"""Where an id of several words begins: the first word, and what joins it to the next."""
_SHAPE = re.compile(
    r"([a-z]+)(?=.*\d)(?:-\d{1,2}){0,2}-([a-z]+)(?:-\d{1,2}){0,2}(?:-20\d{6})?", re.ASCII
)
"""What an id of a family looks like: the family, a version, a line and a date."""
_BEGIN = (
    rb"(?<![\w-]STEM)",
    rb"(?<=\\[abfnrtv]STEM)",  # "\n" of source code, "\b" of a pattern
    rb"(?<=\\u[0-9A-Fa-f]{4}STEM)",  # "\u0022" of JSON
    rb"(?<=%[0-9A-F]{2}STEM)",  # "%2F" of a URL
    rb"(?<=:-STEM)",  # "${MODEL:-claude-opus-5}" of a shell
)
"""What may stand before an id, looked at from the end of its stem."""
_ALONE = (
    rb"(?<!/STEM)(?<!%2FSTEM)",
    *(
        rb"(?<=\b%b%bSTEM)" % (directory, slash)
        for directory in (b"anthropic", b"models")
        for slash in (b"/", rb"\\/", b"%2F")
    ),
)
"""What may stand before one that was never held besides: no directory."""
# After an id: what would make it a longer word, a glob, a template or another catalog's id, or
# the pattern of a longer one: `claude-opus-4\.1`, `claude-opus-4[.-]1`, `claude-opus-4(?:-1)?`.
_END = rb"(?![\w@*{-]|\.[\w*?+]|\$[\w{]|\\{1,4}[dw.-]|[(\[](?:\?:)?[.-])"
_NUMBERS = rb"(?:\d{1,2}-){0,2}"
_DATED = rb"20\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"


class IdPattern:
    """Finds ids in bytes that agree with ASCII, such as UTF-8 and Latin-1."""

    def __init__(self, held: Iterable[str]) -> None:
        """`held`: every id that the catalog ever held."""
        self.held = frozenset(held)
        by_stem: dict[str, list[str]] = defaultdict(list)
        lines: dict[str, set[str]] = defaultdict(set)
        for model_id in self.held:
            if stem := _SEVERAL_WORDS.match(model_id):
                by_stem[stem[0]].append(model_id.removeprefix(stem[0]))
            if shape := _SHAPE.fullmatch(model_id):
                lines[f"{shape[1]}-"].add(shape[2])
        self._patterns: Mapping[bytes, re.Pattern[bytes]] = {
            stem.encode(): _pattern(stem, rests, lines.get(stem, set()))
            for stem, rests in by_stem.items()
        }

    def whole(self, word: str) -> bool:
        """Whether a word is an id, and nothing besides."""
        text = word.encode(errors="surrogateescape")
        return list(self.within(text)) == [(0, len(text))]

    def within(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Yield where each id begins and ends, in the order of the text; none within another."""
        found = [
            match.span()
            for stem, pattern in self._patterns.items()
            if stem in text  # many times faster than the pattern, and most texts hold none
            for match in pattern.finditer(text)
        ]
        found.sort(key=lambda span: (span[0], -span[1]))
        end = 0
        for span in found:
            if span[0] >= end:
                end = span[1]
                yield span


def _pattern(stem: str, rests: Iterable[str], lines: Iterable[str]) -> re.Pattern[bytes]:
    """Return the pattern of ids that begin with a stem.

    It begins with the stem itself, which is found quickly; what may stand before is looked at
    from there.
    """
    first = re.escape(stem.encode())
    begin = b"|".join(_BEGIN).replace(b"STEM", first)
    begin = rb"(?:%b)(?<!anthropic\.%b)" % (begin, first)
    known = b"|".join(re.escape(rest.encode()) for rest in sorted(rests, reverse=True))
    whole = rb"%b%b(?:%b)%b" % (first, begin, known, _END)
    names = b"|".join(re.escape(name.encode()) for name in sorted(lines))
    if names:
        alone = rb"(?:%b)" % b"|".join(_ALONE).replace(b"STEM", first)
        numbered = rb"(?=[a-z-]{0,40}(?:\d|-latest))"
        line = rb"%b%b(?:%b)(?:-\d{1,2}){0,2}(?:-%b|-latest)?" % (numbered, _NUMBERS, names, _DATED)
        dated = rb"(?=[a-z-]{0,40}\d{1,2}-)%b[a-z]{1,32}(?:-\d{1,2}){0,2}-%b" % (_NUMBERS, _DATED)
        whole += rb"|%b%b%b(?:%b|%b)(?!/)%b" % (first, begin, alone, line, dated, _END)
    return re.compile(whole)
