"""One range of time of one tier, read by as many workers as help.

One walk pages through the entire range. Where its pages come slower than they are used, it is given
up while it is young, and new walks read the parts of its range, all of it: from the order in which
fills are listed follows nothing but where to cut.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

from kalshi_fills.exchange import paging
from kalshi_fills.exchange.decode import Page
from kalshi_fills.exchange.repeats import Repeats, second_of
from kalshi_fills.exchange.walks import ShareMeter, Walk
from kalshi_fills.pipeline.fills import EARLIEST_FILL
from kalshi_fills.pipeline.window import Window

log = logging.getLogger(__name__)


IDLE_BEFORE_SPLIT_SECONDS: Final = 0.03

JOIN_TIMEOUT_SECONDS: Final = 0.1

_IDLE_SHARE: Final = 0.3

_BUSY_SHARE: Final = 0.8
"""From this share of one processor on, it is this process that is waited for, not the pages."""

_SAMPLE_STEP: Final = 16
"""Of how many items one is looked at to see in which order a page lists them."""

_EARLIEST_SECOND: Final = int(EARLIEST_FILL.timestamp())


_Came = tuple[Walk, Page | BaseException | None]


class _Load:
    """How much of the time whoever uses the pages waits for them."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Count anew."""
        self._waited = self._used = 0.0
        self._since = time.monotonic()
        self._worked_before = time.process_time()

    def wait(self, ready: queue.Queue[_Came]) -> _Came | tuple[None, None]:
        """Return what is ready next, or nothing after a moment."""
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
        """Return whether the waiting is long enough to pay for more walks.

        While this process keeps a processor busy, more walks would only wait for it, too.
        """
        idle = self._waited >= max(IDLE_BEFORE_SPLIT_SECONDS, self._used * _IDLE_SHARE)
        worked = time.process_time() - self._worked_before
        busy = worked >= (self._waited + self._used) * _BUSY_SHARE
        if self._used > 1 or (idle and busy):
            self.begin()
        return idle and not busy


def _is_full(page: Page) -> bool:
    return len(page.items) >= paging.PAGE_LIMIT


class RangeReader:
    """The walks over one range of one tier.

    All of its state but the queue belongs to the thread that uses the pages.

    Args:
        tier: what is read, for the log.
        read: returns the pages of the tier between two seconds; called in the workers' threads.
        has_use_for: returns whether the rate limit allows more requests than so many walks make.
        window: the range.
        floor: the earliest time that there can be a fill of; None if that is not known.
        workers: how many walks may be under way.
    """

    def __init__(
        self,
        tier: str,
        read: Callable[[int | None, int], Iterator[Page]],
        has_use_for: Callable[[int], bool],
        window: Window,
        floor: datetime | None,
        workers: int,
    ) -> None:
        self._tier = tier
        self._read_pages = read
        self._has_use_for = has_use_for
        self._workers = workers
        self._start = None if window.start is None else int(window.start.timestamp())
        self._end = int(window.end.timestamp()) + (1 if window.end.microsecond else 0)
        # Where no start is given, where to cut is guessed from the oldest time there can be.
        self._floor = max(
            _EARLIEST_SECOND if floor is None else int(floor.timestamp()), _EARLIEST_SECOND
        )
        self._walks: list[Walk] = []
        self._waiting: list[Walk] = []
        self._threads: list[threading.Thread] = []
        self._stop = threading.Event()
        self._ready: queue.Queue[_Came] = queue.Queue(maxsize=4)
        self._may_split = True
        self._repeats = Repeats()
        self._meter: ShareMeter | None = None

    def measure(self, low: datetime | None, high: datetime, window: Window) -> None:
        """Make pages carry which share of the window is read.

        Args:
            low: where the tier's fills of the window begin; None if that is still to be found.
            high: where they end.
            window: what all tiers are read for.
        """
        self._meter = ShareMeter(low, high, window)

    def pages(self) -> Iterator[Page]:
        """Yield the pages as they come, from whichever walk.

        What a walk that was given up had listed must be listed again by one of the parts of its
        range. Where it is not, times are no filter to rely on: the range is read once more, by one
        walk, and what it repeats is the same fill twice.
        """
        yield from self._read()
        missing = self._repeats.missing
        if missing:
            log.warning(
                "range_read_again",
                extra={"fields": {"tier": self._tier, "not_again": missing}},
            )
            self._may_split = False
            self._repeats.clear()
            yield from self._read()

    def _read(self) -> Iterator[Page]:
        self._waiting.append(Walk(self._start, self._end))
        self._begin_next()
        load = _Load()
        try:
            while self._walks:
                walk, came = load.wait(self._ready)
                page: Page | None = None
                if walk is not None and not walk.given_up:
                    if isinstance(came, BaseException):
                        raise came
                    if came is None:
                        self._end_walk(walk)
                    else:
                        page = self._take(walk, came)
                        if walk.is_rest and walk.pages == 1 and _is_full(came):
                            self._split(walk)
                if len(self._walks) < self._workers and load.is_idle() and self._help():
                    load.begin()
                if walk is not None:
                    walk.may_go_on.set()
                if page is not None:
                    yield page
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

    def _end_walk(self, walk: Walk) -> None:
        if self._meter is not None:
            self._meter.ended(walk, [*self._walks, *self._waiting])
        self._walks.remove(walk)
        walk.marks.clear()
        if walk.newest is None:
            self._join_older(walk)
        self._begin_next()

    def _join_older(self, walk: Walk) -> None:
        """Put one walk in the place of neighbouring ones that wait and are older than another.

        Where one part of a range is empty, the older ones mostly are, too: one request shows it.
        """
        older: list[Walk] = []
        for waiting in self._waiting:
            if older:
                follows = waiting.end == older[-1].start
            else:
                follows = walk.start is not None and waiting.end <= walk.start
            if follows:
                older.append(waiting)
        if len(older) > 1:
            joined = Walk(older[-1].start, older[0].end)
            joined.is_rest = True
            self._waiting[self._waiting.index(older[0])] = joined
            self._waiting = [one for one in self._waiting if one not in older]

    def _work(self, walk: Walk) -> None:
        """Page through one range; runs in a thread of its own.

        Its second page is asked for once it is known that its first did not give it up.
        """
        ending: BaseException | None = None
        try:
            for page in self._read_pages(walk.start, walk.end):
                if not self._deliver(walk, page):
                    return
                while not walk.may_go_on.wait(JOIN_TIMEOUT_SECONDS):
                    if self._stop.is_set():
                        return
                if walk.given_up:
                    return
        except BaseException as error:  # raised again where the pages are used
            ending = error
        self._deliver(walk, ending)

    def _deliver(self, walk: Walk, came: Page | BaseException | None) -> bool:
        """Hand over a page or the end; return whether more is wanted."""
        while not self._stop.is_set() and not walk.given_up:
            with contextlib.suppress(queue.Full):
                self._ready.put((walk, came), timeout=JOIN_TIMEOUT_SECONDS)
                return True
        return False

    def _help(self) -> bool:
        """Begin one more walk, as pages come slower than they are used; return whether one began.

        Where it is the rate limit that pages wait for, a split would only cost requests.
        """
        begun = len(self._threads)
        if self._walks and not self._waiting and self._has_use_for(len(self._walks)):
            self._split(max(self._walks, key=lambda walk: walk.seconds_left(self._floor)))
        self._begin_next()
        return len(self._threads) > begun

    def _split(self, walk: Walk) -> None:
        """Put walks over the parts of its range in the place of a walk, if that pays."""
        cuts = walk.cuts(self._floor) if self._may_split else []
        if not cuts:
            return
        walk.given_up = True
        self._walks.remove(walk)
        self._repeats.split(walk, cuts)
        ends = [walk.end, *cuts]
        starts = [*cuts, walk.start]
        self._waiting += [Walk(*part) for part in zip(starts, ends, strict=True)]
        self._waiting[-1].is_rest = True
        self._begin_next()

    def _take(self, walk: Walk, page: Page) -> Page:
        """Note how far a walk is by now; return its page without what other walks have listed."""
        walk.pages += 1
        seconds = self._seconds(walk, page.items)
        known = [second for second in seconds if second is not None]
        if known:
            walk.oldest = min(known) if walk.oldest is None else min(walk.oldest, *known)
            walk.newest = max(known) if walk.newest is None else max(walk.newest, *known)
        if walk.is_young:
            walk.newest_first &= known == sorted(known, reverse=True)
            self._may_split &= not walk.ignores_filters(known)
            walk.grow_up(self._floor)
        fresh = self._repeats.remove(walk, page.items, seconds)
        walks = [*self._walks, *self._waiting]
        share = None if self._meter is None else self._meter.share(walks)
        return page._replace(items=fresh, share=share)

    @staticmethod
    def _seconds(walk: Walk, items: list[str]) -> list[int | None]:
        """Return the second of each item, or of some where those show that the newest is first."""
        if walk.newest_first and items:
            step = _SAMPLE_STEP if walk.is_young else len(items)
            some = [second_of(item) for item in (*items[::step], items[-1])]
            known = [second for second in some if second is not None]
            if known == sorted(known, reverse=True):
                return some
        return [second_of(item) for item in items]
