"""What a pass proves at its end: the table holds what the exchange sent, hour by hour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from kalshi_fills.exchange.tiers import fetch_fills
from kalshi_fills.pipeline.batch import Batch
from kalshi_fills.pipeline.content import key_hash
from kalshi_fills.pipeline.page import read_page
from kalshi_fills.pipeline.stages import Counts
from kalshi_fills.reconcile.breaks import MAX_BREAKS, Break
from kalshi_fills.reconcile.fills import by_key, compare_fills, differing_stretches
from kalshi_fills.sync.intake import BLOCK_FILLS
from kalshi_fills.sync.open_breaks import OpenBreak, OpenBreaks

if TYPE_CHECKING:
    from kalshi_fills.exchange.endpoints import Exchange
    from kalshi_fills.pipeline.fills import Fill, FillKey
    from kalshi_fills.pipeline.seen import HourDigest, SeenFills
    from kalshi_fills.pipeline.window import Window
    from kalshi_fills.sync.tally import Tally
    from kalshi_fills.warehouse.store import FillStore


class _Found(NamedTuple):
    breaks: list[Break]
    strays: dict[FillKey, Fill]
    """Fills of which a second row stands under another ticker."""
    open: OpenBreaks
    """Every break, as the ledger keeps it."""


def compare_with_table(
    exchange: Exchange,
    store: FillStore,
    seen: SeenFills,
    tally: Tally,
    current_until: datetime,
    now: datetime,
    stored: Mapping[datetime, HourDigest] | None = None,
) -> OpenBreaks:
    """Compare what the exchange sent with what the table now holds, and report the breaks.

    Args:
        exchange: is asked again for the hours that differ.
        store: the tables, which nobody else uses.
        seen: the fills that the pass met; one that it did not came after, and is no break.
        tally: what the table must hold; breaks cap its watermark.
        current_until: the event time up to which the exchange's answers are complete.
        now: the clock.
        stored: what the table holds, by hour, if that was read since the last block was written.

    Returns:
        Every break, as the ledger keeps it.

    Raises:
        KalshiFillsError: either side could not be read.
    """
    if stored is None:
        stored = hours_stored(store, tally)
    found = _compare(exchange, store, seen, tally, current_until, now, stored)
    if found.strays:
        # Such a row was written after the fill's own, or a pass would have found it there.
        strays = Batch.of(found.strays.values())
        for written in store.write(strays, everywhere=True).looked_at:
            tally.report.corrections.add(written.fill, written.differences)
        tally.report.more_breaks = False
        stored = hours_stored(store, tally)
        found = _compare(exchange, store, seen, tally, current_until, now, stored)
    tally.report.breaks += found.breaks
    return found.open


def hours_stored(store: FillStore, tally: Tally) -> dict[datetime, HourDigest]:
    """Return what the table holds of the window now, by hour."""
    return store.hours(tally.window.start, tally.window.end)


def _compare(
    exchange: Exchange,
    store: FillStore,
    seen: SeenFills,
    tally: Tally,
    current_until: datetime,
    now: datetime,
    stored: Mapping[datetime, HourDigest],
) -> _Found:
    found = _Found([], {}, OpenBreaks())
    window = tally.window
    for stretch in differing_stretches(tally.expected.hours, stored, window):
        rows = store.rows_between(stretch.since, stretch.until)
        fills = by_key(_fills_of(exchange, stretch.window, now))
        for one in compare_fills(fills, rows, current_until):
            fill = fills.get(one.key)
            was_met = fill is not None and key_hash(*fill.key) in seen
            if one.kind == "missing" and not (was_met and stretch.surely_holds(fills[one.key])):
                continue
            is_stray = fill is not None and was_met and _is_stray(one, fill, window)
            if is_stray and len(found.strays) < BLOCK_FILLS:
                found.strays[one.key] = fills[one.key]
            if len(found.breaks) < MAX_BREAKS:
                found.breaks.append(one)
            else:  # what is not listed holds the watermark all the same
                tally.report.more_breaks = True
            found.open.add(_open_break(one, stretch.since))
            if one.kind != "unexpected":
                tally.caps.cap_watermark(stretch.since)
    return found


def _is_stray(one: Break, fill: Fill, window: Window) -> bool:
    """Return whether a row is a second one of a fill of the window, under another ticker."""
    return (
        one.kind == "unexpected"
        and one.market_ticker != fill.content.market_ticker
        and window.holds(fill.content.moment)
    )


def _fills_of(exchange: Exchange, window: Window, now: datetime) -> Iterator[Fill]:
    for page in fetch_fills(exchange, window):
        yield from read_page(page.items, page.tier, now, Counts()).batch.fills()


def _open_break(found: Break, since: datetime) -> OpenBreak:
    """Return a break as the ledger keeps it, with the fill's time or else that of its hour."""
    at = found.executed_at or since
    return OpenBreak(found.kind, found.fill_id or "", found.order_id or "", at)
