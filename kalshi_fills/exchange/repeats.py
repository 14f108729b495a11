"""What is listed twice because a range was split, so that it is passed on once.

What one walk lists twice is the exchange's doing, and passed on twice.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from kalshi_fills.exchange.walks import EDGE_SECONDS, Walk
from kalshi_fills.pipeline.values import event_time, json_decoder

_SECOND_LETTERS: Final = len("2026-11-20T14:31:09")


class Repeats:
    """The items that a tier's walks may list again, word for word, after a range was split."""

    def __init__(self) -> None:
        self._cuts: list[int] = []
        self._listed_at_cuts: dict[int, Walk] = {}
        self._expected_again: set[int] = set()
        """What walks that were given up had listed and no other walk has listed since."""
        self._left_out: Counter[int] = Counter()
        """How often the same items are to be left out when they are listed again."""

    @property
    def missing(self) -> int:
        """How many items that a walk had listed before it was given up were not listed again."""
        return len(self._expected_again)

    def clear(self) -> None:
        """Forget all: from here on nothing is left out that was listed before."""
        self._cuts.clear()
        self._expected_again.clear()
        self._left_out.clear()

    def split(self, walk: Walk, cuts: Sequence[int]) -> None:
        """Note that a walk was given up for walks over the parts of its range."""
        self._expected_again.update(walk.marks)
        self._left_out.update(walk.marks)
        self._cuts += cuts

    def remove(self, walk: Walk, items: list[str], seconds: list[int | None]) -> list[str]:
        """Return the items of a page without those that are listed again because of a split.

        Those are the items that a walk had listed before it was given up, as often as it had; and
        those near to a cut that another walk has listed.
        """
        cuts = self._cuts_within(seconds)
        if not (walk.is_young or self._left_out or cuts):
            return items
        if cuts and len(seconds) != len(items):
            seconds = [second_of(item) for item in items]
        marks = list(map(hash, items))
        if walk.is_young:
            walk.marks += marks
        again = self._left_out.keys() & marks
        if not again and not cuts:
            return items
        self._expected_again -= again
        kept: list[str] = []
        for position, (item, mark) in enumerate(zip(items, marks, strict=True)):
            repeats = mark in again and self._left_out[mark] > 0
            if repeats:
                self._left_out[mark] -= 1
            if cuts and _is_near(seconds[position], cuts):
                repeats |= self._listed_at_cuts.setdefault(mark, walk) is not walk
            if not repeats:
                kept.append(item)
        return kept

    def _cuts_within(self, seconds: list[int | None]) -> list[int]:
        """Return the cuts that a page may hold fills around."""
        known = [second for second in seconds if second is not None]
        if not known or not self._cuts:
            return []
        low, high = min(known) - EDGE_SECONDS, max(known) + EDGE_SECONDS
        return [cut for cut in self._cuts if low <= cut <= high]


class _Timed(msgspec.Struct, gc=False):
    created_time: str


_decode_time: Final = msgspec.json.Decoder(_Timed).decode


def second_of(item: str) -> int | None:
    """Return the second of an item's event time, None where none can be read."""
    with contextlib.suppress(msgspec.MsgspecError, ValueError, RecursionError):
        text = _decode_time(item).created_time
        if text.endswith("Z"):  # nearly every fill: a fraction of the time
            return int(datetime.fromisoformat(f"{text[:_SECOND_LETTERS]}+00:00").timestamp())
    with contextlib.suppress(ValueError, RecursionError):
        moment = event_time(json_decoder.decode(item))
        return None if moment is None else int(moment.timestamp())
    return None


def _is_near(second: int | None, cuts: list[int]) -> bool:
    return second is not None and any(abs(second - cut) <= EDGE_SECONDS for cut in cuts)
