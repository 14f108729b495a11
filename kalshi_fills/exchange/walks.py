"""One walk over a range of time: how far it is, where to cut the rest, which share is read.

Pure arithmetic on seconds; nothing is read here.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from kalshi_fills.pipeline.window import Window

_YOUNG_PAGES: Final = 8
"""A walk is given up within so many pages or never: they are read again."""

_WORTH_READING_AGAIN: Final = 4
"""How many pages must be left for each one that is read again."""

_PARTS_END_PAGES: Final = (4, 8, 16, 32, 48, 64, 80, 96, 112, 128)
"""Where the parts of a range end, going by its pages; what is left is one more part, the rest.

A few small parts are enough for a small range, and parts of one size come out even. The rest may be
empty; where its first page is full, it is split again, whatever it costs: nobody knows how long it
is, and one walk alone might go on for long.
"""

_PARTS_OF_REST_END_PAGES: Final = (16, 32, 64, 128)

EDGE_SECONDS: Final = 2
"""How near to a cut both parts may list a fill: each asks a second wider."""


class Walk:
    """One walk over a range of seconds, with the same filters from its first page to its last."""

    def __init__(self, start: int | None, end: int) -> None:
        self.start = start
        self.end = end
        self.is_rest = False
        """True if it is what was left where a walk was given up: the first parts were cut off."""
        self.newest: int | None = None
        self.oldest: int | None = None
        """The newest and the oldest second listed so far; None before the first."""
        self.pages = 0
        self.newest_first = True
        """True as long as its pages came newest first while it was young."""
        self.marks: list[int] = []
        """What it listed while it was young, by hash."""
        self.given_up = False
        self.may_go_on = threading.Event()
        """Set once its first page was looked at."""
        self.is_young = True
        """True as long as it may still be given up."""

    def grow_up(self, floor: int) -> None:
        """Note that it may no longer be given up, if too little is left for that to pay."""
        listed = self.newest is not None
        if self.pages > _YOUNG_PAGES or (listed and not self.cuts(floor)):
            self.is_young = False
            self.marks.clear()

    def cuts(self, floor: int) -> list[int]:
        """Return where to cut its range, newest first; empty where that does not pay.

        The last part, which may be empty, reaches to the start of the range.
        """
        if not self.is_young or self.newest is None or self.oldest is None:
            return []
        low = floor if self.start is None else self.start
        page_seconds = max((self.newest - self.oldest) / self.pages, EDGE_SECONDS)
        if self.oldest - low < _WORTH_READING_AGAIN * self.pages * page_seconds:
            return []
        pages_at_ends = _PARTS_OF_REST_END_PAGES if self.is_rest else _PARTS_END_PAGES
        ends = [int(self.newest - pages * page_seconds) for pages in pages_at_ends]
        return [end for end in ends if end > low + EDGE_SECONDS]

    def seconds_left(self, floor: int) -> int:
        """Return how much of the range is left if it is listed newest first."""
        low = floor if self.start is None else self.start
        return 0 if self.oldest is None else max(self.oldest - low, 0)

    def ignores_filters(self, seconds: list[int]) -> bool:
        """Return whether most of a page lies outside the range."""
        middle = sorted(seconds)[len(seconds) // 2] if seconds else self.end
        low = middle if self.start is None else self.start
        return not low - EDGE_SECONDS <= middle <= self.end + EDGE_SECONDS


class ShareMeter:
    """Which share of a window's time is read, going by how far the walks of a tier are."""

    def __init__(self, low: datetime | None, high: datetime, window: Window) -> None:
        self._low = None if low is None else low.timestamp()
        self._high = high.timestamp()
        self._start = None if window.start is None else window.start.timestamp()
        self._end = window.end.timestamp()
        self._oldest = math.inf
        """The oldest second that a walk listed which has ended."""

    def ended(self, walk: Walk, open_walks: Iterable[Walk]) -> None:
        """Note that an open walk has ended: of those that had fills, the oldest has the first."""
        if walk.oldest is not None:
            self._oldest = min(walk.oldest, self._oldest)
        if self._low is None and math.isfinite(self._oldest):
            others = (each for each in open_walks if each is not walk)
            if all(each.end > self._oldest + EDGE_SECONDS for each in others):
                self._low = self._oldest

    def share(self, open_walks: Iterable[Walk]) -> float | None:
        """Return the share of the window that is read while these walks of the tier are open."""
        if self._low is None:
            return None
        start = self._low if self._start is None else self._start
        unread = max(self._low - start, 0.0)  # of the other tier, which comes after this one
        for walk in open_walks:
            high = walk.end if walk.oldest is None else walk.oldest
            low = self._low if walk.start is None else max(walk.start, self._low)
            unread += max(min(high, self._high) - low, 0.0)
        return min(max(1 - unread / max(self._end - start, 1.0), 0.0), 1.0)
