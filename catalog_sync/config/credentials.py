"""Secrets that authenticate a source, and where each one came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Credential:
    """What authenticates a source's requests, and where it came from."""

    header: Literal["x-api-key", "authorization"]
    value: str = field(repr=False)
    origin: str
    """What an error may name: the variable or the file, never the value."""
