"""When a message is sent again."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from catalog_sync.alerts.channels import SendResult

_FIRST_DELAY: Final = timedelta(minutes=1)
_LAST_DELAY: Final = timedelta(hours=6)
_LONGEST_WAIT: Final = timedelta(days=1)
"""The longest wait that a receiver may ask for."""
_REFUSALS: Final = 3
"""How many times a receiver may refuse a message before the message fails for good."""


def next_attempt_at(
    result: SendResult, attempt: int, refusals: int, now: datetime, attempts: int, chance: float
) -> datetime | None:
    """Return when a message is sent again; None if it was accepted or failed for good.

    Args:
        result: The result of this attempt.
        attempt: The number of this attempt, from 1 on.
        refusals: How many attempts were refused, this one included.
        now: The present time.
        attempts: How often a message is sent at most.
        chance: 0 to 1; spreads the attempts of messages that failed together.
    """
    if result.error is None or result.final or attempt >= attempts:
        return None
    if result.refused and refusals >= _REFUSALS:
        return None
    return now + delay(result, attempt, chance)


def delay(result: SendResult, attempt: int, chance: float) -> timedelta:
    """Return the pause after an attempt: doubled each time, and as long as the receiver asks."""
    doubled: timedelta = _FIRST_DELAY * 2 ** min(attempt - 1, 20)
    pause = min(doubled, _LAST_DELAY) * (0.9 + 0.2 * chance)
    if result.retry_after is not None:
        pause = min(max(pause, result.retry_after), _LONGEST_WAIT)
    return pause
