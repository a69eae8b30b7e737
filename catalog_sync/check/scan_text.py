"""Where in a file its ids stand: reading in pieces, encodings, lines and columns.

A file is read as UTF-8, a line that is not that as Latin-1; UTF-16 and UTF-32 where a byte order
mark says so. Any other file with a NUL among its first bytes is binary, as git has it.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from catalog_sync.domain.model import ID_MAX_LENGTH

if TYPE_CHECKING:
    from catalog_sync.check.ids import IdPattern


_PIECE_BYTES = 1 << 18
_BINARY_BYTES = 8000  # git's buffer_is_binary
_MARGIN = 4 * ID_MAX_LENGTH + 64
"""Bytes on both sides of where a piece is cut: the longest id, and what stands beside it."""
# The longer marks first: that of UTF-32 begins as that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, None),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """An id in a file. Lines and columns count from 1; a line feed ends a line."""

    line: int
    column: int
    """In characters."""
    unit: int
    """The column in UTF-16 code units, as SARIF counts."""
    model_id: str


class _Position:
    """Counts lines and columns while a text goes by."""

    def __init__(self) -> None:
        self.line = self.column = self.unit = 1

    def advance(self, text: bytes) -> None:
        if lines := text.count(b"\n"):
            self.line += lines
            self.column = self.unit = 1
            text = text[text.rindex(b"\n") + 1 :]
        try:
            characters = text.decode()
        except UnicodeDecodeError:
            characters = text.decode("latin-1")
        self.column += len(characters)
        self.unit += len(characters.encode("utf-16-le")) // 2


def places(file: BinaryIO, mentions: IdPattern) -> list[Place] | None:
    """Return where ids stand in a file, in its order; null when it is binary.

    Memory is bounded, however long the file and its lines are. Raises OSError.
    """
    piece = file.read(_PIECE_BYTES)
    mark, encoding = next((one for one in _MARKS if piece.startswith(one[0])), (b"", None))
    if encoding is None and b"\x00" in piece[:_BINARY_BYTES]:
        return None
    piece = piece.removeprefix(mark)
    found: list[Place] = []
    position = _Position()
    decoder = encoding and codecs.getincrementaldecoder(encoding)("replace")
    text, counted = b"", 0
    while True:
        following = file.read(_PIECE_BYTES)
        text += decoder.decode(piece, not following).encode() if decoder else piece
        settled = len(text) if not following else max(counted, _boundary(text))
        for begin, end in mentions.within(text):
            if counted <= begin < settled:
                position.advance(text[counted:begin])
                model_id = text[begin:end].decode()
                found.append(Place(position.line, position.column, position.unit, model_id))
                counted = begin
        if not following:
            return found
        position.advance(text[counted:settled])
        kept = max(settled - _MARGIN, 0)
        text, counted = text[kept:], settled - kept
        piece = following


def _boundary(text: bytes) -> int:
    """Return up to where a text can be judged while more is to come: between two characters."""
    end = max(len(text) - _MARGIN, 0)
    for place in range(end, max(end - 4, 0), -1):
        if text[place] & 0xC0 != 0x80:  # noqa: PLR2004  # the first byte of a character of UTF-8
            return place
    return end
