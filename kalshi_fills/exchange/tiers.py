"""Every page of the account's fills in a window: both tiers, by as many workers as help.

Fills move from the live to the historical tier only, so the live one is read to its end first; if
the cutoff between them moved meanwhile, the seam is read again. Within a tier one walk pages
through the whole range. Where its pages come slower than they are used, it is given up while it is
young, and new walks read the parts of its range, all of it: nothing follows from the order in which
fills are listed but where to cut. The filters of a walk never change, since a cursor may be bound
to them, or count from them, and a walk is over on an empty cursor only.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from kalshi_fills.errors import ExchangeError
from kalshi_fills.exchange.decode import HISTORICAL, LIVE, Page
from kalshi_fills.exchange.workers import Tier, Tiers
from kalshi_fills.pipeline.window import Window

log = logging.getLogger(__name__)


MAX_WORKERS: Final = 6

_SEAM_READS: Final = 5

_SECOND: Final = timedelta(seconds=1)


def fetch(tiers: Tiers, window: Window, workers: int = MAX_WORKERS) -> Iterator[Page]:
    """Yield every page of fills in the window, live tier first. Lazy.

    The same fill may come twice, from both tiers or where the exchange repeats itself.

    Raises:
        ExchangeError: a page could not be had within its budget.
    """
    before = tiers.cutoff()
    live = Tier(tiers, LIVE, window, before, workers)
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
        archive = Tier(tiers, HISTORICAL, window, None, workers)
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
        yield from Tier(tiers, LIVE, seam, None, workers).pages()
        yield from Tier(tiers, HISTORICAL, seam, None, workers).pages()
        before, after = after, tiers.cutoff()
    raise ExchangeError(
        f"the exchange's historical cutoff moved {_SEAM_READS} times while the seam was read",
        hint="run the same command again",
    )
