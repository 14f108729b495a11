"""Every page of the account's fills in a window: the live tier, the historical one, and the seam.

Fills move from the live to the historical tier only, so the live one is read to its end first; if
the cutoff between them moved meanwhile, the seam is read again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from kalshi_fills.errors import ExchangeError
from kalshi_fills.exchange.ahead import Ahead
from kalshi_fills.exchange.decode import HISTORICAL, LIVE, Page
from kalshi_fills.exchange.endpoints import FILLS_PATHS, Exchange
from kalshi_fills.exchange.workers import RangeReader
from kalshi_fills.pipeline.window import Window

log = logging.getLogger(__name__)


MAX_WORKERS: Final = 6

_SEAM_READS: Final = 5

_SECOND: Final = timedelta(seconds=1)


def fetch_fills(
    exchange: Exchange,
    window: Window,
    *,
    meanwhile: Callable[[], None] = lambda: None,
    workers: int = MAX_WORKERS,
) -> Iterator[Page]:
    """Yield every page of fills in the window, live tier first. Lazy.

    The same fill may come twice, from both tiers or where the exchange repeats itself.

    Args:
        exchange: the account.
        window: the range.
        meanwhile: is called once both tiers are read, while the exchange is asked whether its
            cutoff moved. Where it did, more pages follow.
        workers: how many walks may be under way.

    Raises:
        ExchangeError: a page could not be had within its budget.
    """

    def reader(tier: str, part: Window, floor: datetime | None = None) -> RangeReader:
        read = partial(exchange.fills_pages, tier)
        has_use_for = partial(exchange.has_use_for, path=FILLS_PATHS[tier])
        return RangeReader(tier, read, has_use_for, part, floor, workers)

    before = exchange.cutoff()
    live = reader(LIVE, window, before)
    if before is not None and window.start is not None:
        live.measure(max(window.start, before), window.end, window)
    yield from live.pages()
    if before is None:
        reaches_back = exchange.has_history()
    else:
        reaches_back = window.start is None or window.start < before
    if reaches_back:
        archive = reader(HISTORICAL, window)
        if before is not None:
            archive.measure(window.start, min(window.end, before), window)
        yield from archive.pages()
    cutoff_ahead = Ahead(exchange.cutoff)
    meanwhile()
    after = cutoff_ahead.result()
    if (before is None) != (after is None):
        raise ExchangeError(
            "the exchange reported its historical cutoff once and then no more",
            hint="run the same command again",
        )
    for reads in range(_SEAM_READS + 1):
        if after is None or before is None or after == before:
            return
        if reads == _SEAM_READS:
            break
        log.info(
            "cutoff_moved", extra={"fields": {"from": before.isoformat(), "to": after.isoformat()}}
        )
        seam = Window(min(before, after) - _SECOND, max(before, after) + _SECOND)
        yield from reader(LIVE, seam).pages()
        yield from reader(HISTORICAL, seam).pages()
        before, after = after, exchange.cutoff()
    raise ExchangeError(
        f"the exchange's historical cutoff moved {_SEAM_READS} times while the seam was read",
        hint="run the same command again",
    )
