"""The kinds of events are named in three places, for two of which the third is too heavy."""

from typing import get_args

from catalog_sync.cli import read
from catalog_sync.config.settings import DEFAULT_ALERT_KINDS, AlertKind
from catalog_sync.domain.kinds import Kind


def test_the_kinds_agree() -> None:
    """What can be recorded, what a channel can be told and what `events --kind` takes are one."""
    kinds = tuple(kind.value for kind in Kind)
    assert get_args(AlertKind) == read._KINDS == kinds
    assert set(DEFAULT_ALERT_KINDS) <= set(kinds)
