"""What makes a settled market differ: fills that are missing or altered, rows that are none.

What a fill that is a break already explains is not named twice, and what may still come is waited
for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from kalshi_fills.reconcile.attribution import attribute
from kalshi_fills.reconcile.breaks import MAX_BREAKS
from kalshi_fills.reconcile.fills import by_key, compare_fills
from kalshi_fills.reconcile.listed import Bounds, ListedFills, must_be_stored
from kalshi_fills.reconcile.settled import (
    Evidence,
    SettledMarket,
    SettledMarkets,
    totals_of,
)
from kalshi_fills.reconcile.totals import Totals

if TYPE_CHECKING:
    from kalshi_fills.pipeline.fills import Content, FillKey
    from kalshi_fills.reconcile.lookups import TableLookups
    from kalshi_fills.reconcile.reader import ExchangeReader
    from kalshi_fills.reconcile.reconciliation import Reconciliation

_MOST_FILLS: Final = 50_000
"""Fills of a market up to which each of its rows is looked at."""


_LOOKED_AT: Final = 50
"""Markets that are breaks, and of which every fill is looked at."""

_ASKED_FOR: Final = 200
"""Markets whose fills the exchange is asked for; beyond them a fill that is named explains all."""


def explain_by_table(settled: SettledMarkets, lookups: TableLookups) -> None:
    """Make breaks of the markets that were left, with what their rows say of the reason.

    Raises:
        WarehouseError: the table could not be read.
    """
    for market in settled.left:
        if len(settled.evidence) < _LOOKED_AT:
            settled.evidence.append(evidence_of_table(market, lookups))
        _add_breaks(market, settled)
    _finish(settled)


def explain_by_exchange(
    settled: SettledMarkets,
    lookups: TableLookups,
    reader: ExchangeReader,
    listed: ListedFills,
    bounds: Bounds,
    found: Reconciliation,
) -> None:
    """Make breaks of the markets that were left, with what the exchange's fills say of the reason.

    Raises:
        ExchangeError: the exchange could not be asked.
        WarehouseError: the table could not be read.
    """
    named = {one.market_ticker for one in found.of("fill")}
    for number, market in enumerate(settled.left):
        if number >= _ASKED_FOR and market.ticker in named:
            settled.explained += 1
            continue
        if market.fills > _MOST_FILLS:
            settled.evidence.append(evidence_of_table(market, lookups))
        elif number < _ASKED_FOR and len(settled.evidence) < _LOOKED_AT:
            evidence = evidence_of_exchange(market, lookups, reader, listed, bounds, found)
            if evidence is None:
                settled.pending += 1
                continue
            if evidence.is_named:
                settled.explained += 1
                continue
            settled.evidence.append(evidence)
        _add_breaks(market, settled)
    _finish(settled)


def _add_breaks(market: SettledMarket, settled: SettledMarkets) -> None:
    settled.differing += 1
    settled.breaks += list(market.breaks())[: MAX_BREAKS - len(settled.breaks)]


def _finish(settled: SettledMarkets) -> None:
    settled.left = []
    if settled.agreeing or settled.differing or settled.pending or settled.explained:
        settled.skipped = ""


def evidence_of_exchange(
    market: SettledMarket,
    lookups: TableLookups,
    reader: ExchangeReader,
    listed: ListedFills,
    bounds: Bounds,
    found: Reconciliation,
) -> Evidence | None:
    """Compare every fill of a market with its rows; return None where a sync has yet to read them.

    Where the exchange's own fills do not add up to what it settled, they prove nothing of the rows.

    Raises:
        ExchangeError: the exchange could not be asked.
        WarehouseError: the table could not be read.
    """
    fills = by_key(reader.fills_of_market(market.ticker))
    rows = lookups.fills_of_market(market.ticker)
    breaks = list(compare_fills(fills, rows, bounds.current_until))
    of_fills = totals_of(fill.content for fill in fills.values())
    ties_out = of_fills.agrees(market.exchange)
    awaited = [
        one
        for one in breaks
        if one.kind == "missing" and not must_be_stored(fills[one.key], bounds, listed)
    ]
    if ties_out and awaited and len(awaited) == len(breaks):
        return None
    if not ties_out:
        return evidence_of_table(market, lookups)._replace(not_of_fills=True)
    named = {(one.fill_id, one.order_id) for one in found.of("fill")}
    is_named = bool(breaks) and all((one.fill_id, one.order_id) in named for one in breaks)
    by_writer = attribute(breaks, lookups, lambda key: key in fills)
    foreign = tuple(by_writer.foreign)
    return Evidence(
        market,
        min((fill.content.moment for fill in fills.values()), default=None),
        missing=sum(one.kind == "missing" for one in breaks),
        lacks_contracts=market.table.lacks_contracts_of(market.exchange),
        altered=(*by_writer.altered, *by_writer.of_others, *by_writer.changed_by_exchange),
        foreign=foreign,
        repeated=_repeated(foreign, rows),
        withdrawn=tuple(by_writer.withdrawn),
        is_named=is_named,
    )


def evidence_of_table(market: SettledMarket, lookups: TableLookups) -> Evidence:
    """Return what the rows of a market say by themselves of why they differ.

    Rows that no sync wrote as they are make the difference where the sums agree without them;
    otherwise they were altered. Where there are none, fills are missing, and nobody but the
    exchange knows how old they are.

    Raises:
        WarehouseError: the table could not be read.
    """
    lacks = market.table.lacks_contracts_of(market.exchange)
    plain = Evidence(market, None if lacks else market.first_fill, lacks_contracts=lacks)
    if not market.fills or market.fills > _MOST_FILLS:
        return plain
    rows = lookups.fills_of_market(market.ticker)
    writers = lookups.writers([row.key for row in rows if row.key.fill_id])
    changed = [key for key, one in writers.items() if one.by_sync and not one.as_written]
    of_others = [key for key, one in writers.items() if not one.by_sync]
    for suspects in ([*changed, *of_others], changed, of_others):
        named = set(suspects)
        without = totals_of(row for row in rows if row.key not in named)
        if suspects and without.agrees(market.exchange) and without != Totals():
            foreign = tuple(suspects)
            return plain._replace(
                first_fill=market.first_fill, foreign=foreign, repeated=_repeated(foreign, rows)
            )
    altered = changed or ([] if lacks else of_others)
    return plain._replace(
        first_fill=market.first_fill if altered else plain.first_fill, altered=tuple(altered)
    )


def _repeated(keys: Sequence[FillKey], rows: Sequence[Content]) -> tuple[FillKey, ...]:
    """Return those rows that have the content of another row but for their id."""
    named = set(keys)
    others = {row._replace(fill_id="") for row in rows if row.key not in named}
    return tuple(row.key for row in rows if row.key in named and row._replace(fill_id="") in others)
