"""What a pass remembers of every fill in a few bytes: its identity, and its part of an hour's sum.

Fills and contents themselves are not kept here, nor anywhere else for a whole pass.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

_HOUR: Final = timedelta(hours=1)

_MASK_64: Final = (1 << 64) - 1


@dataclass(slots=True)
class HourDigest:
    """Count and content of the fills of one hour, summed."""

    fills: int = 0
    digest_sum: int = 0
    """Sum of the digests modulo 2^64, as the table sums them."""


class HourlyDigests:
    """Count and content of the fills that the table must hold, hour by hour."""

    def __init__(self) -> None:
        self._hours: dict[datetime, HourDigest] = {}
        self._last_hour: tuple[datetime, HourDigest] | None = None

    def add(self, executed_at: datetime, content_digest: int) -> None:
        """Add one fill."""
        last = self._last_hour  # fills come by time: mostly it is the hour of the one before
        if last is None or not last[0] <= executed_at < last[0] + _HOUR:
            start = executed_at.replace(minute=0, second=0, microsecond=0)
            last = self._last_hour = (start, self._hours.setdefault(start, HourDigest()))
        hour = last[1]
        hour.fills += 1
        hour.digest_sum = (hour.digest_sum + content_digest) & _MASK_64

    def remove(self, executed_at: datetime, content_digest: int) -> None:
        """Take out a fill that was added before with this time and content."""
        start = executed_at.replace(minute=0, second=0, microsecond=0)
        hour = self._hours.setdefault(start, HourDigest())
        hour.fills -= 1
        hour.digest_sum = (hour.digest_sum - content_digest) & _MASK_64

    @property
    def hours(self) -> Mapping[datetime, HourDigest]:
        """The digest of each hour in which there is, or was, a fill."""
        return self._hours


class SeenFills:
    """The fills that a pass has met: 64 bits of each identity and 32 of its content.

    They stand in sorted arrays, one for each value of an identity's first bits, so short that an
    insertion moves little. A fill takes about 13 bytes; in a set of numbers it would take 100.
    """

    _SHARD_BITS: Final = 12

    def __init__(self) -> None:
        shards = range(1 << self._SHARD_BITS)
        self._keys = [array("Q") for _ in shards]
        self._marks = [array("I") for _ in shards]

    def __len__(self) -> int:
        return sum(map(len, self._keys))

    def add(self, key: int, content_digest: int) -> int | None:
        """Add a fill; if it is there, return the 32 bits of its content as it was added first."""
        shard = key >> 64 - self._SHARD_BITS
        keys = self._keys[shard]
        place = bisect_left(keys, key)
        if place < len(keys) and keys[place] == key:
            return self._marks[shard][place]
        keys.insert(place, key)
        self._marks[shard].insert(place, content_digest & 0xFFFFFFFF)
        return None

    def __contains__(self, key: int) -> bool:
        keys = self._keys[key >> 64 - self._SHARD_BITS]
        place = bisect_left(keys, key)
        return place < len(keys) and keys[place] == key
