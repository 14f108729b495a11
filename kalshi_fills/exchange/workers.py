"""One range of time read by several workers."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final, Protocol

from kalshi_fills.exchange.decode import Item, Page
from kalshi_fills.pipeline.fills import EARLIEST_FILL
from kalshi_fills.pipeline.parse import event_time
from kalshi_fills.pipeline.window import Window

log = logging.getLogger(__name__)


IDLE_BEFORE_SPLIT_SECONDS: Final = 0.03

JOIN_TIMEOUT_SECONDS: Final = 0.1

_IDLE_SHARE: Final = 0.3

_BUSY_SHARE: Final = 0.8
"""From this share of one processor on, waiting is for this process itself, not for pages."""

_EARLIEST_SECOND: Final = int(EARLIEST_FILL.timestamp())

_YOUNG_PAGES: Final = 8
"""A walk is given up within so many pages or never: they are read again."""

_WORTH_READING_AGAIN: Final = 4
"""How many pages must be left for each one that is read again."""

_FIRST_PART_PAGES: Final = 4

_MAX_CUTS: Final = 12

_SECOND_LETTERS: Final = len("2026-11-20T14:31:09")

_EDGE_SECONDS: Final = 2
"""How near to a cut both parts may list a fill: each asks a second wider."""


class Tiers(Protocol):
    """What is needed of the exchange."""

    def cutoff(self) -> datetime | None:
        """Return the time before which fills are only in the historical tier."""
        ...

    def has_history(self) -> bool:
        """Return whether there is a historical tier at all."""
        ...

    def fills_pages(self, tier: str, start: int | None, end: int) -> Iterator[Page]:
        """Yield the pages of one tier between two seconds."""
        ...

    def is_paced(self) -> bool:
        """Return whether requests had to wait for the rate limit of late."""
        ...


class _Walk:
    """One walk over a range of seconds, whose filters stay as they are."""

    def __init__(self, start: int | None, end: int) -> None:
        self.start = start
        self.end = end
        self.newest: int | None = None
        self.oldest: int | None = None
        """The newest and the oldest second listed so far; None before the first."""
        self.pages = 0
        self.newest_first = True
        """Whether its pages came in that order while it was young."""
        self.marks: list[int] = []
        """What it listed while it was young, by hash."""
        self.given_up = False
        self.is_young = True
        """Whether it may be given up still; once it may not, it never may."""

    def grow_up(self, floor: int) -> None:
        """Note that it may no longer be given up, if what is left is not worth it."""
        listed = self.newest is not None
        if self.pages > _YOUNG_PAGES or (listed and not self.cuts(floor)):
            self.is_young = False
            self.marks.clear()

    def cuts(self, floor: int) -> list[int]:
        """Return where to cut its range, newest first; empty where that is not worth it.

        Going by its pages, the newest part holds four of them, and each following one as many as
        all before it: so parts come out even where fills are, and few where there are none.
        """
        if not self.is_young or self.newest is None or self.oldest is None:
            return []
        low = floor if self.start is None else self.start
        page_seconds = max((self.newest - self.oldest) / self.pages, _EDGE_SECONDS)
        if self.oldest - low < _WORTH_READING_AGAIN * self.pages * page_seconds:
            return []
        cuts: list[int] = []
        reach = max(self.pages, _FIRST_PART_PAGES) * page_seconds
        while self.newest - reach > low + _EDGE_SECONDS and len(cuts) < _MAX_CUTS:
            cuts.append(int(self.newest - reach))
            reach *= 2
        return cuts

    def seconds_left(self, floor: int) -> int:
        """Return how much of the range is still to come if the newest is listed first."""
        low = floor if self.start is None else self.start
        return 0 if self.oldest is None else max(self.oldest - low, 0)

    def ignores_filters(self, seconds: list[int]) -> bool:
        """Return whether most of a page lies outside of what was asked for."""
        middle = sorted(seconds)[len(seconds) // 2] if seconds else self.end
        low = middle if self.start is None else self.start
        return not low - _EDGE_SECONDS <= middle <= self.end + _EDGE_SECONDS


class _Measure:
    """How much of the window's time a tier has left to read, going by what is known by now."""

    def __init__(self, low: datetime | None, high: datetime, window: Window) -> None:
        self._low = None if low is None else low.timestamp()
        self._high = high.timestamp()
        self._start = None if window.start is None else window.start.timestamp()
        self._end = window.end.timestamp()

    def ended(self, walk: _Walk, open_walks: Iterable[_Walk]) -> None:
        """Note that an open walk has ended: the oldest that is not empty has the first fill."""
        if self._low is None and walk is min(open_walks, key=lambda each: each.start or 0):
            self._low = walk.oldest

    def share(self, open_walks: Iterable[_Walk]) -> float | None:
        """Return the share of the window that is read, if these walks of the tier are open."""
        if self._low is None:
            return None
        start = self._low if self._start is None else self._start
        unread = max(self._low - start, 0.0)  # of the other tier, which comes after this one
        for walk in open_walks:
            high = walk.end if walk.oldest is None else walk.oldest
            low = self._low if walk.start is None else max(walk.start, self._low)
            unread += max(min(high, self._high) - low, 0.0)
        return min(max(1 - unread / max(self._end - start, 1.0), 0.0), 1.0)


_Came = tuple[_Walk, Page | BaseException | None]


class _Load:
    """Whether whoever uses the pages waits for them for a good part of the time."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._waited = self._used = 0.0
        self._since = time.monotonic()
        self._worked_before = time.process_time()

    def wait(self, ready: queue.Queue[_Came]) -> _Came | tuple[None, None]:
        """Return what is ready next, or nothing after a while."""
        began = time.monotonic()
        self._used += began - self._since
        try:
            return ready.get(timeout=IDLE_BEFORE_SPLIT_SECONDS)
        except queue.Empty:
            return None, None
        finally:
            self._since = time.monotonic()
            self._waited += self._since - began

    def is_idle(self) -> bool:
        """Return whether more was waited than is worth it, and begin to count anew if so.

        While this process keeps a processor busy, more walks would only wait for it, too.
        """
        idle = self._waited >= max(IDLE_BEFORE_SPLIT_SECONDS, self._used * _IDLE_SHARE)
        worked = time.process_time() - self._worked_before
        busy = worked >= (self._waited + self._used) * _BUSY_SHARE
        if idle or self._used > 1:
            self._begin()
        return idle and not busy


class Tier:
    """The walks over one tier.

    All of its state but the queue belongs to the thread that uses the pages.
    """

    def __init__(
        self, tiers: Tiers, tier: str, window: Window, floor: datetime | None, workers: int
    ) -> None:
        self._tiers = tiers
        self._tier = tier
        self._workers = workers
        self._start = None if window.start is None else int(window.start.timestamp())
        self._end = int(window.end.timestamp()) + (1 if window.end.microsecond else 0)
        # Where no start is given, where to cut is guessed from the oldest time there can be.
        self._floor = max(
            _EARLIEST_SECOND if floor is None else int(floor.timestamp()), _EARLIEST_SECOND
        )
        self._walks: list[_Walk] = []
        self._waiting: list[_Walk] = []
        self._threads: list[threading.Thread] = []
        self._stop = threading.Event()
        self._ready: queue.Queue[_Came] = queue.Queue(maxsize=4)
        self._may_split = True
        self._cuts: list[int] = []
        self._listed_at_cuts: dict[int, _Walk] = {}
        self._expected_again: set[int] = set()
        """What walks that were given up had listed and no other walk has listed since."""
        self._repeats: Counter[int] = Counter()
        """How often the same things are to be left out when they are listed again."""
        self._measure: _Measure | None = None

    def measure(self, low: datetime | None, high: datetime, window: Window) -> None:
        """Let pages tell which share of the window is read.

        Args:
            low: where the tier's fills of the window begin; None if that is still to be found.
            high: where they end.
            window: what all tiers are read for.
        """
        self._measure = _Measure(low, high, window)

    def pages(self) -> Iterator[Page]:
        """Yield the pages as they come, from whichever walk.

        What a walk that was given up had listed must be listed again by one of the parts of its
        range. Where it is not, times are no filter to rely on: the range is read once more, by one
        walk, and what it repeats is the same fill twice.
        """
        yield from self._read()
        if self._expected_again:
            log.warning(
                "range_read_again",
                extra={"fields": {"tier": self._tier, "not_again": len(self._expected_again)}},
            )
            self._may_split = False
            self._cuts.clear()
            self._expected_again.clear()
            self._repeats.clear()
            yield from self._read()

    def _read(self) -> Iterator[Page]:
        self._waiting.append(_Walk(self._start, self._end))
        self._begin_next()
        load = _Load()
        try:
            while self._walks:
                walk, came = load.wait(self._ready)
                if load.is_idle() and len(self._walks) < self._workers:
                    self._help()
                if walk is None or walk.given_up:
                    continue
                if isinstance(came, BaseException):
                    raise came
                if came is None:
                    self._end_walk(walk)
                else:
                    yield self._take(walk, came)
        finally:
            failed = bool(self._walks)
            if failed:
                self._stop.set()
            for thread in self._threads:
                thread.join(JOIN_TIMEOUT_SECONDS)

    def _begin_next(self) -> None:
        if not self._waiting:
            return
        walk = self._waiting.pop(0)
        self._walks.append(walk)
        thread = threading.Thread(target=self._work, args=(walk,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _end_walk(self, walk: _Walk) -> None:
        if self._measure is not None:
            self._measure.ended(walk, [*self._walks, *self._waiting])
        self._walks.remove(walk)
        walk.marks.clear()
        self._begin_next()

    def _work(self, walk: _Walk) -> None:
        """Page through one range; runs in a thread of its own."""
        ending: BaseException | None = None
        try:
            for page in self._tiers.fills_pages(self._tier, walk.start, walk.end):
                if not self._deliver(walk, page):
                    return
        except BaseException as error:  # raised again where the pages are used
            ending = error
        self._deliver(walk, ending)

    def _deliver(self, walk: _Walk, what: Page | BaseException | None) -> bool:
        """Hand over a page or the end; return whether anybody waits for more."""
        while not self._stop.is_set() and not walk.given_up:
            with contextlib.suppress(queue.Full):
                self._ready.put((walk, what), timeout=JOIN_TIMEOUT_SECONDS)
                return True
        return False

    def _help(self) -> None:
        """Let one more walk be under way, since pages come slower than they are used."""
        if not self._waiting:
            self._split()
        self._begin_next()

    def _split(self) -> None:
        """Give up the walk that has most before it, for walks over the parts of its range.

        Where the rate limit is what pages wait for, that would only cost requests.
        """
        if not self._may_split or not self._walks or self._tiers.is_paced():
            return
        longest = max(self._walks, key=lambda walk: walk.seconds_left(self._floor))
        cuts = longest.cuts(self._floor)
        if not cuts:
            return
        longest.given_up = True
        self._walks.remove(longest)
        self._expected_again.update(longest.marks)
        self._repeats.update(longest.marks)
        self._cuts += cuts
        ends = [longest.end, *cuts]
        starts = [*cuts, longest.start]
        self._waiting += [_Walk(*part) for part in zip(starts, ends, strict=True)]
        self._begin_next()

    def _take(self, walk: _Walk, page: Page) -> Page:
        """Note how far a walk is by now; return what of its page is to be used."""
        walk.pages += 1
        seconds = self._seconds(walk, page.items)
        told = [second for second in seconds if second is not None]
        if told:
            walk.oldest = min(told) if walk.oldest is None else min(walk.oldest, *told)
            walk.newest = max(told) if walk.newest is None else max(walk.newest, *told)
        if walk.is_young:
            walk.newest_first &= told == sorted(told, reverse=True)
            self._may_split &= not walk.ignores_filters(told)
            walk.grow_up(self._floor)
        kept = self._without_own_repeats(walk, page.items, seconds)
        walks = [*self._walks, *self._waiting]
        share = None if self._measure is None else self._measure.share(walks)
        return page._replace(items=kept, share=share)

    @staticmethod
    def _seconds(walk: _Walk, items: list[Item]) -> list[int | None]:
        """Return the second of each item, or of the first and the last where they span the page."""
        if walk.newest_first and not walk.is_young:
            items = [*items[:1], *items[-1:]]
        return [_second(item) for item in items]

    def _without_own_repeats(
        self, walk: _Walk, items: list[Item], seconds: list[int | None]
    ) -> list[Item]:
        """Leave out what is listed twice because a range was split, word for word.

        That is what a walk that was given up had listed, as often as it had; and what lies at a
        cut, where another walk has listed it. What one walk lists twice is the exchange's doing.
        """
        cuts = self._cuts_within(seconds)
        if not (walk.is_young or self._repeats or cuts):
            return items
        if cuts and len(seconds) != len(items):
            seconds = [_second(item) for item in items]
        marks = [hash(item.text) for item in items]
        if walk.is_young:
            walk.marks += marks
        again = self._repeats.keys() & marks
        if not again and not cuts:
            return items
        self._expected_again -= again
        kept: list[Item] = []
        for position, (item, mark) in enumerate(zip(items, marks, strict=True)):
            repeats = mark in again and self._repeats[mark] > 0
            if repeats:
                self._repeats[mark] -= 1
            if cuts and _is_near(seconds[position], cuts):
                repeats |= self._listed_at_cuts.setdefault(mark, walk) is not walk
            if not repeats:
                kept.append(item)
        return kept

    def _cuts_within(self, seconds: list[int | None]) -> list[int]:
        """Return the cuts that a page may hold fills around."""
        told = [second for second in seconds if second is not None]
        if not told or not self._cuts:
            return []
        low, high = min(told) - _EDGE_SECONDS, max(told) + _EDGE_SECONDS
        return [cut for cut in self._cuts if low <= cut <= high]


def _second(item: Item) -> int | None:
    """Return the second of an item's event time, None where none can be read."""
    value = item.value
    text = value.get("created_time") if isinstance(value, dict) else None
    if type(text) is str and text.endswith("Z"):  # nearly every fill: a fraction of the time
        with contextlib.suppress(ValueError):
            return int(datetime.fromisoformat(f"{text[:_SECOND_LETTERS]}+00:00").timestamp())
    moment = event_time(value)
    return None if moment is None else int(moment.timestamp())


def _is_near(second: int | None, cuts: list[int]) -> bool:
    return second is not None and any(abs(second - cut) <= _EDGE_SECONDS for cut in cuts)
