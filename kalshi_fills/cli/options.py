"""Text to values: moments, durations, shares; mistakes collected."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from kalshi_fills.errors import Mistakes
from kalshi_fills.host.printable import quoted

_DURATION: Final = re.compile(r"([0-9]{1,9})(s|m|h|d)").fullmatch

_LONGEST_DURATION: Final = timedelta(days=36_500)

_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def moment(text: str, now: datetime, option: str, mistakes: Mistakes) -> datetime | None:
    """Read T: an ISO 8601 instant (UTC where no zone is named) or a duration back from now."""
    if match := _DURATION(text.strip()):
        try:
            return now - timedelta(seconds=int(match.group(1)) * _UNIT_SECONDS[match.group(2)])
        except OverflowError:
            mistakes.add(
                f"{option}{quoted(text)} reaches back beyond the calendar", "use a shorter time"
            )
            return None
    try:
        read = datetime.fromisoformat(text.strip())
    except ValueError:
        mistakes.add(
            f"{option}{quoted(text)} is neither an ISO 8601 instant nor a duration",
            f"write it like {option} 2026-11-20T15:00:00Z or {option} 24h",
        )
        return None
    try:
        return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)
    except OverflowError:
        mistakes.add(f"{option}{quoted(text)} lies beyond the calendar", "give another time")
        return None


def duration(text: str, option: str, mistakes: Mistakes) -> timedelta:
    """Read a duration such as 90s, 15m, 24h or 7d."""
    match = _DURATION(text.strip())
    if not match:
        mistakes.add(f"{option}{quoted(text)} is no duration", f"write it like {option} 1h")
        return timedelta(0)
    long = timedelta(seconds=int(match.group(1)) * _UNIT_SECONDS[match.group(2)])
    if long > _LONGEST_DURATION:
        mistakes.add(f"{option}{quoted(text)} is more than a hundred years", "use a shorter time")
        return timedelta(0)
    return long


def share(value: float, option: str, mistakes: Mistakes) -> float:
    """Check a share: more than 0, at most 1."""
    if not (math.isfinite(value) and 0 < value <= 1):
        mistakes.add(f"{option} {value} is no share", f"use a number above 0 up to 1 for {option}")
    return value
