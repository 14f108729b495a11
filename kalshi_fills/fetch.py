"""Every page of the account's fills in a window: both tiers, by as many workers as help.

Fills move from the live to the historical tier only, so the live one is read to its end first; if
the cutoff between them moved meanwhile, the seam is read again. Within a tier one worker pages
from the newest fill backwards. Where pages come slower than they are used, another worker takes
the older half of the largest range still open: the first one raises its lower bound, which goes
with every page, and still ends only on an empty cursor. So how fills are spread, or ordered,
decides how fast it goes and never what is found.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Final, Protocol

from kalshi_fills.errors import ExchangeError
from kalshi_fills.fills import EARLIEST_FILL, event_time
from kalshi_fills.listing import HISTORICAL, LIVE, Item, Page, Window

log = logging.getLogger(__name__)

MAX_WORKERS: Final = 6

_SEAM_READS: Final = 5
_SECOND: Final = timedelta(seconds=1)
_STARVED_SECONDS: Final = 0.03
_FAREWELL_SECONDS: Final = 0.1
_EARLIEST_SECOND: Final = int(EARLIEST_FILL.timestamp())
_EDGE_SECONDS: Final = 3
"""How near to a split the two ranges may both hold a fill: each asks a second wider."""


Bounds = Callable[[], tuple[int | None, int]]
"""Gives the seconds between which a page is asked for; the first may be none."""


class Tiers(Protocol):
    """What is needed of the exchange."""

    def cutoff(self) -> datetime | None:
        """Give the time before which fills are only in the historical tier."""
        ...

    def has_history(self) -> bool:
        """Say whether there is a historical tier at all."""
        ...

    def fills_pages(
        self, tier: str, bounds: Callable[[], tuple[int | None, int]]
    ) -> Iterator[Page]:
        """Yield the pages of one tier between two seconds, which are asked for every page."""
        ...


def fetch(tiers: Tiers, window: Window, workers: int = MAX_WORKERS) -> Iterator[Page]:
    """Yield every page of fills in the window, live tier first. Lazy.

    The same fill may come twice, from both tiers or where the exchange repeats itself.

    Raises:
        ExchangeError: a page could not be had within its budget.
    """
    before = tiers.cutoff()
    live = _Tier(tiers, LIVE, window, before, workers)
    if before is not None and window.start is not None:
        live.measure(max(window.start, before), window.end, window)
    yield from live.pages()
    after = tiers.cutoff()
    if (before is None) != (after is None):
        raise ExchangeError(
            "the exchange told its historical cutoff once and then no more",
            hint="run the same command again",
        )
    if after is None:
        reaches_back = tiers.has_history()
    else:
        reaches_back = window.start is None or window.start < after
    if reaches_back:
        archive = _Tier(tiers, HISTORICAL, window, None, workers)
        if after is not None:
            archive.measure(window.start, min(window.end, after), window)
        yield from archive.pages()
        after = tiers.cutoff()
    for reads in range(_SEAM_READS + 1):
        if after is None or before is None or after == before:
            return
        if reads == _SEAM_READS:
            break
        log.info(
            "cutoff_moved", extra={"fields": {"from": before.isoformat(), "to": after.isoformat()}}
        )
        seam = Window(min(before, after) - _SECOND, max(before, after) + _SECOND)
        yield from _Tier(tiers, LIVE, seam, None, workers).pages()
        yield from _Tier(tiers, HISTORICAL, seam, None, workers).pages()
        before, after = after, tiers.cutoff()
    raise ExchangeError(
        f"the exchange's historical cutoff moved {_SEAM_READS} times while the seam was read",
        hint="run the same command again",
    )


class _Range:
    """A range of seconds that one worker pages through; its lower bound may be raised."""

    def __init__(self, start: int | None, end: int) -> None:
        self.start = start
        self.end = end
        self.frontier: int | None = None
        """The oldest second seen so far; None before the first page."""

    def open_seconds(self, floor: int) -> int:
        """How much of the range is probably still to come."""
        low = floor if self.start is None else self.start
        return 0 if self.frontier is None else max(self.frontier - low, 0)


class _Measure:
    """How much of the window's time a tier has left to read, going by what is known by now."""

    def __init__(self, low: datetime | None, high: datetime, window: Window) -> None:
        self._low = None if low is None else low.timestamp()
        self._high = high.timestamp()
        self._start = None if window.start is None else window.start.timestamp()
        self._end = window.end.timestamp()

    def ended(self, part: _Range, ranges: list[_Range]) -> None:
        """Note that one of the open ranges is read: the oldest that is not empty has the first."""
        if self._low is None and part is min(ranges, key=lambda each: each.start or 0):
            self._low = part.frontier

    def share(self, ranges: list[_Range]) -> float | None:
        """Give the share of the window that is read, if these ranges of the tier are open."""
        if self._low is None:
            return None
        start = self._low if self._start is None else self._start
        unread = max(self._low - start, 0.0)  # of the other tier, which comes after this one
        for part in ranges:
            high = part.end if part.frontier is None else part.frontier
            low = self._low if part.start is None else max(part.start, self._low)
            unread += max(min(high, self._high) - low, 0.0)
        return min(max(1 - unread / max(self._end - start, 1.0), 0.0), 1.0)


class _Zone:
    """Seconds that two workers may both have asked for, because a range was split.

    Around the split each asks a second wider; and a page that the first one had asked for before
    may reach far beyond it, so that until its next page is there the zone is the whole older half.
    """

    def __init__(self, owner: _Range, low: int, middle: int) -> None:
        self.owner: _Range | None = owner
        self.low = low
        self.middle = middle
        self.high = middle + _EDGE_SECONDS


class _Tier:
    """The walk over one tier."""

    def __init__(
        self, tiers: Tiers, tier: str, window: Window, floor: datetime | None, workers: int
    ) -> None:
        self._tiers = tiers
        self._tier = tier
        self._workers = workers
        start = None if window.start is None else int(window.start.timestamp())
        # Where no start is given, where to halve is guessed from the oldest time there can be.
        self._floor = max(
            _EARLIEST_SECOND if floor is None else int(floor.timestamp()), _EARLIEST_SECOND
        )
        end = int(window.end.timestamp()) + (1 if window.end.microsecond else 0)
        self._ranges = [_Range(start, end)]
        self._zones: list[_Zone] = []
        self._seen_in_zones: set[int] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._ready: queue.Queue[Page | BaseException | None] = queue.Queue(maxsize=4)
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
        """Yield the pages as they come, from whichever worker."""
        running = 0
        threads: list[threading.Thread] = []

        def start(part: _Range) -> None:
            nonlocal running
            running += 1
            thread = threading.Thread(target=self._work, args=(part,), daemon=True)
            threads.append(thread)
            thread.start()

        start(self._ranges[0])
        try:
            while running:
                try:
                    came = self._ready.get(timeout=_STARVED_SECONDS)
                except queue.Empty:
                    part = self._split() if running < self._workers else None
                    if part is not None:
                        start(part)
                    continue
                if came is None:
                    running -= 1
                elif isinstance(came, BaseException):
                    raise came
                else:
                    yield self._without_own_repeats(came)
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(_FAREWELL_SECONDS if running else None)

    def _work(self, part: _Range) -> None:
        def bounds() -> tuple[int | None, int]:
            with self._lock:
                return part.start, part.end

        ending: BaseException | None = None
        try:
            for page in self._tiers.fills_pages(self._tier, bounds):
                if self._stop.is_set():
                    return
                self._deliver(page._replace(share=self._advance(part, page)))
        except BaseException as error:  # raised again where the pages are used
            ending = error
        with self._lock:
            if self._measure is not None:
                self._measure.ended(part, self._ranges)
            self._ranges.remove(part)
        self._deliver(ending)

    def _deliver(self, what: Page | BaseException | None) -> None:
        """Hand over a page or the end, unless nobody waits for it any more."""
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                self._ready.put(what, timeout=_FAREWELL_SECONDS)
                return

    def _advance(self, part: _Range, page: Page) -> float | None:
        """Note how far a range is read by now; give the share of the window that is."""
        span = _span(page)
        with self._lock:
            if span is not None and (part.frontier is None or span[0] < part.frontier):
                part.frontier = span[0]
            for zone in self._zones:
                if zone.owner is part:
                    zone.owner = None
                    edge = zone.middle - _EDGE_SECONDS
                    zone.low = edge if span is None else min(edge, span[0])
            return None if self._measure is None else self._measure.share(self._ranges)

    def _split(self) -> _Range | None:
        """Take the older half of the largest range still open from its worker."""
        with self._lock:
            largest = max(
                self._ranges, key=lambda part: part.open_seconds(self._floor), default=None
            )
            if largest is None or largest.open_seconds(self._floor) <= 2 * _EDGE_SECONDS:
                return None
            assert largest.frontier is not None
            low = self._floor if largest.start is None else largest.start
            middle = (low + largest.frontier) // 2
            part = _Range(largest.start, middle)
            largest.start = middle
            self._ranges.append(part)
            self._zones.append(_Zone(largest, low, middle))
            return part

    def _without_own_repeats(self, page: Page) -> Page:
        """Leave out what was asked for twice because a range was split, word for word."""
        span = _span(page)
        if span is None:
            return page
        with self._lock:
            zones = [
                (zone.low, zone.high)
                for zone in self._zones
                if zone.low <= span[1] and span[0] <= zone.high
            ]
        if not zones:
            return page
        kept: list[Item] = []
        for item in page.items:
            moment = event_time(item.value)
            second = -1 if moment is None else int(moment.timestamp())
            if any(low <= second <= high for low, high in zones):
                mark = hash(item.text)
                if mark in self._seen_in_zones:
                    continue
                self._seen_in_zones.add(mark)
            kept.append(item)
        return page._replace(items=kept)


def _span(page: Page) -> tuple[int, int] | None:
    """Give the oldest and the newest second of a page, going by its first and last items."""
    moments = [event_time(item.value) for item in page.items[:1] + page.items[-1:]]
    seconds = [int(moment.timestamp()) for moment in moments if moment is not None]
    return (min(seconds), max(seconds)) if seconds else None
