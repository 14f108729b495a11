"""What a pass remembers of every fill in a few bytes: its identity, and its part of an hour's sum.

Fills and contents themselves are not kept here, nor anywhere else for a whole pass.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

_HOUR_LETTERS: Final = len("2026-11-20 14")

_MASK_32: Final = (1 << 32) - 1

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
        self._hours: defaultdict[str, HourDigest] = defaultdict(HourDigest)

    def add_all(self, times: Iterable[str], content_digests: Iterable[int]) -> None:
        """Add fills by the texts of their event times."""
        hours = self._hours
        for ts, content_digest in zip(times, content_digests, strict=True):
            hour = hours[ts[:_HOUR_LETTERS]]
            hour.fills += 1
            hour.digest_sum = (hour.digest_sum + content_digest) & _MASK_64

    def remove(self, ts: str, content_digest: int) -> None:
        """Remove a fill that was added before with this time and content."""
        hour = self._hours[ts[:_HOUR_LETTERS]]
        hour.fills -= 1
        hour.digest_sum = (hour.digest_sum - content_digest) & _MASK_64

    @property
    def hours(self) -> Mapping[datetime, HourDigest]:
        """The digest of each hour in which there is, or was, a fill."""
        return {
            datetime.fromisoformat(f"{name}:00").replace(tzinfo=UTC): hour
            for name, hour in self._hours.items()
        }


class SeenFills:
    """The fills that a pass has met: 64 bits of each identity and 32 of its content.

    The latest stand in a dictionary, which takes little time; all others in sorted arrays, one for
    each value of an identity's first bits, so short that an insertion moves little. There a fill
    takes about 13 bytes; in the dictionary it takes 120.

    Args:
        most_latest: how many fills the dictionary holds at most before they are sorted.
    """

    _SHARD_BITS: Final = 12

    def __init__(self, most_latest: int = 1 << 17) -> None:
        self._most_latest = most_latest
        shards = range(1 << self._SHARD_BITS)
        self._latest: dict[int, int] = {}
        self._keys = [array("Q") for _ in shards]
        self._marks = [array("I") for _ in shards]
        self._sorted = 0

    def __len__(self) -> int:
        return len(self._latest) + self._sorted

    def add(self, key: int, mark: int) -> int | None:
        """Add a fill; if it is there, return the 32 bits of its content as it was added first."""
        return self.add_all([key], [mark]).get(0)

    def add_all(self, keys: Sequence[int], marks: Sequence[int]) -> dict[int, int]:
        """Add fills.

        Args:
            keys: 64 bits of each identity.
            marks: of each content, of which 32 bits are kept.

        Returns:
            The fills that were there, by their position, each with the 32 bits of its content as
            it was added first.
        """
        latest = self._latest
        there: dict[int, int] = {}
        fresh = dict(zip(keys, marks, strict=True))
        if len(fresh) == len(keys) and not self._sorted and latest.keys().isdisjoint(fresh):
            latest.update(fresh)
        else:
            for position, (key, mark) in enumerate(zip(keys, marks, strict=True)):
                known = latest.get(key)
                if known is None:
                    known = self._mark_of(key)
                if known is None:
                    latest[key] = mark
                else:
                    there[position] = known & _MASK_32
        if len(latest) > self._most_latest:
            self._sort_latest()
        return there

    def __contains__(self, key: int) -> bool:
        return key in self._latest or self._mark_of(key) is not None

    def _mark_of(self, key: int) -> int | None:
        """Return what the sorted arrays hold of an identity."""
        shard = key >> 64 - self._SHARD_BITS
        keys = self._keys[shard]
        place = bisect_left(keys, key)
        return self._marks[shard][place] if place < len(keys) and keys[place] == key else None

    def _sort_latest(self) -> None:
        """Put the latest fills into the sorted arrays."""
        for key, mark in self._latest.items():
            shard = key >> 64 - self._SHARD_BITS
            place = bisect_left(self._keys[shard], key)
            self._keys[shard].insert(place, key)
            self._marks[shard].insert(place, mark & _MASK_32)
        self._sorted += len(self._latest)
        self._latest.clear()
