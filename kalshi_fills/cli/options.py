"""Text to values: times, durations, shares, names; what cannot be read is noted as a mistake."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from kalshi_fills.errors import Mistakes
from kalshi_fills.host.printable import looks_like_key, quoted

_DURATION: Final = re.compile(r"([0-9]{1,9})(s|m|h|d)").fullmatch

_LONGEST_DURATION: Final = timedelta(days=36_500)

_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}").fullmatch


def moment(text: str, now: datetime, option: str, mistakes: Mistakes) -> datetime | None:
    """Return the time that T means: an ISO 8601 time (UTC if no zone is named) or a time ago."""
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
            f"{option}{quoted(text)} is neither an ISO 8601 time nor a duration",
            f"write it like {option} 2026-11-20T15:00:00Z or {option} 24h",
        )
        return None
    try:
        return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)
    except OverflowError:
        mistakes.add(f"{option}{quoted(text)} lies beyond the calendar", "give another time")
        return None


def duration(text: str, option: str, mistakes: Mistakes) -> timedelta:
    """Return the duration that a text such as 90s, 15m, 24h or 7d means."""
    match = _DURATION(text.strip())
    if not match:
        mistakes.add(f"{option}{quoted(text)} is not a duration", f"write it like {option} 1h")
        return timedelta(0)
    long = timedelta(seconds=int(match.group(1)) * _UNIT_SECONDS[match.group(2)])
    if long > _LONGEST_DURATION:
        mistakes.add(f"{option}{quoted(text)} is more than a hundred years", "use a shorter time")
        return timedelta(0)
    return long


def share(text: str, option: str, mistakes: Mistakes) -> float:
    """Return the share that a text means, more than 0 and at most 1."""
    with contextlib.suppress(ValueError):
        value = float(text)
        if 0 < value <= 1:
            return value
    mistakes.add(f"{option}{quoted(text)} is not a share", f"write it like {option} 0.5, up to 1")
    return 1.0


def is_identifier(name: str) -> bool:
    """Return whether a text can be the name of a database or a table, and is no part of a key."""
    return bool(_IDENTIFIER(name)) and not looks_like_key(name)


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, as its name or address says."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def reason_of(error: Exception) -> str:
    """Return why a file could not be used, as the end of a sentence, without its name."""
    return (getattr(error, "strerror", None) or "this cannot be a path").lower()
