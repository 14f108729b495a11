"""The leg of settled markets: the totals of a settlement against all fills, however old they are.

    exchange   the settlements of the window that it lists, page by page
    stored     those that a sync has stored: where the exchange lists none of them any more, where
               it refuses them to the key, and offline

Only markets that differ are kept; what makes them differ is looked for in `evidence`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from kalshi_fills.errors import ExchangeError
from kalshi_fills.exchange.endpoints import is_not_to_be_had, settlements
from kalshi_fills.pipeline.content import key_hash
from kalshi_fills.pipeline.seen import SeenFills
from kalshi_fills.pipeline.settlements import Settlement, read_settlement
from kalshi_fills.pipeline.values import decode_item
from kalshi_fills.reconcile.breaks import MAX_BREAKS
from kalshi_fills.reconcile.settled import SettledMarket, SettledMarkets
from kalshi_fills.reconcile.totals import SettledRow
from kalshi_fills.words import many, one_or_more

if TYPE_CHECKING:
    from kalshi_fills.pipeline.window import Window
    from kalshi_fills.reconcile.listed import Bounds, ListedFills
    from kalshi_fills.reconcile.lookups import TableLookups
    from kalshi_fills.reconcile.reader import ExchangeReader

_AT_ONCE: Final = 5_000
"""Markets whose fills are added up at once."""

ASKED_FOR_AGAIN: Final = 50
"""Markets that differ whose settlements are asked for again."""

_SHOW_IT: Final = 3
"""Markets listed alike for several subaccounts that are no coincidence."""


def compare_stored(
    lookups: TableLookups, window: Window, pending_from: datetime | None
) -> SettledMarkets:
    """Compare the settlements that are stored with all fills of their markets.

    Args:
        lookups: the tables, of today's schema.
        window: the markets that were settled in it.
        pending_from: a market settled from here on may have fills that no sync has read yet.

    Raises:
        WarehouseError: the tables could not be read.
    """
    settled = SettledMarkets(skipped="no settled market is stored; sync stores them")
    _add_stored(settled, lookups, window, pending_from, SeenFills())
    _note_listed_for_each(settled)
    return settled


def compare_settlements(
    reader: ExchangeReader,
    lookups: TableLookups,
    listed: ListedFills,
    bounds: Bounds,
    window: Window,
) -> SettledMarkets:
    """Compare the markets that the exchange settled in a window with all their fills.

    Args:
        reader: the account.
        lookups: the tables.
        listed: what the exchange listed for the window.
        bounds: up to when what is compared with.
        window: the markets that were settled in it.

    Raises:
        ExchangeError: the exchange could not be asked.
        WarehouseError: the tables could not be read.
    """
    settled = SettledMarkets(skipped="no market was settled in the window")
    may_come_from = min(bounds.pending_from or bounds.current_until, bounds.current_until)
    met = SeenFills()
    subaccounts = sorted({*lookups.subaccounts(), *map(int, filter(None, listed.subaccounts))})
    left: dict[str, SettledMarket] = {}
    agreeing = SeenFills()
    unreadable = 0
    refused = ""
    for subaccount in subaccounts:
        pages = settlements(reader.exchange, subaccount, window.start, window.end)
        try:
            for batch in _batches(pages):
                read = [_read(item, subaccount, reader.now()) for item in batch]
                unreadable += read.count(None)
                rows = [one for one in read if one and window.holds(one.settled_at)]
                _take(rows, lookups, met, agreeing, left, settled)
            settled.from_exchange = True
        except ExchangeError as error:
            if not is_not_to_be_had(error):
                raise
            refused = refused or error.message
    of_others = 0
    for ticker, found in sorted(left.items()):
        market = found
        if not market.agrees and len(settled.left) < ASKED_FOR_AGAIN:
            market = _asked_again(market, reader, lookups, subaccounts)
        if market.agrees:
            _note_moved(market, settled)
            _take_listed_for_each(market, settled)
            agreeing.add(_hash(ticker), 0)
        else:
            _leave(market, may_come_from, settled)
            of_others += _hash(ticker) in agreeing  # another subaccount's row agrees
    settled.agreeing = len(agreeing) - of_others
    if unreadable:
        were = one_or_more(unreadable, "was", "were")
        settled.notes.append(
            f"{many(unreadable, 'settlement')} could not be read and {were} not compared."
        )
    if refused:
        settled.notes.append(
            f"The exchange's settlements were not all to be had ({refused}); those that are stored "
            "were compared."
        )
        settled.skipped = refused
    _add_stored(settled, lookups, window, may_come_from, met)
    _note_listed_for_each(settled)
    return settled


def _take(
    rows: Sequence[SettledRow],
    lookups: TableLookups,
    met: SeenFills,
    agreeing: SeenFills,
    left: dict[str, SettledMarket],
    settled: SettledMarkets,
) -> None:
    """Compare rows with the fills of their own subaccount; leave those that differ for later."""
    tickers = sorted({row.market_ticker for row in rows})
    sums = lookups.settled_sums(tickers) if tickers else {}
    for row in rows:
        ticker, number = row.market_ticker, row.subaccount_number
        met.add(_hash(ticker), 0)
        of_market = sums.get(ticker, {})
        held = of_market.get(number)
        if ticker not in left and None not in of_market and held and held.totals == row.totals:
            agreeing.add(_hash(ticker), 0)
            _note_money(SettledMarket(ticker, {number: row}, {number: held}), settled)
            continue
        before = left[ticker].rows if ticker in left else {}
        left[ticker] = SettledMarket(ticker, {**before, number: row}, of_market)


def _add_stored(
    settled: SettledMarkets,
    lookups: TableLookups,
    window: Window,
    may_come_from: datetime | None,
    met: SeenFills,
) -> None:
    """Compare what is stored of markets that the exchange's own list did not have."""
    stored = lookups.stored_settlements(window)
    new = [ticker for ticker in stored.tickers if _hash(ticker) not in met]
    agreeing = SeenFills()
    for first in range(0, len(new), _AT_ONCE):
        tickers = sorted(new)[first:][:_AT_ONCE]
        rows, sums = lookups.settlements_of(tickers), lookups.settled_sums(tickers)
        for ticker in tickers:
            market = SettledMarket(ticker, rows.get(ticker, {}), sums.get(ticker, {}))
            if market.agrees:
                _take_listed_for_each(market, settled)
                agreeing.add(_hash(ticker), 0)
            else:
                _leave(market, may_come_from, settled)
    settled.agreeing += len(agreeing)
    if not settled.from_exchange:
        settled.agreeing += stored.markets - stored.differing
        _note_stored_money(stored.costs_differ, "costs", stored.of_costs, settled)
        _note_stored_money(stored.revenues_differ, "revenue", stored.of_revenues, settled)


def _leave(
    market: SettledMarket,
    may_come_from: datetime | None,
    settled: SettledMarkets,
) -> None:
    """Leave a market that differs for a closer look, or count it as pending or beyond the limit."""
    may_come = may_come_from is not None and market.settled_at >= may_come_from
    if may_come and market.table.lacks_contracts_of(market.exchange):
        settled.pending += 1
    elif len(settled.left) < MAX_BREAKS:
        settled.left.append(market)
    else:
        settled.differing += 1


def _asked_again(
    market: SettledMarket,
    reader: ExchangeReader,
    lookups: TableLookups,
    subaccounts: Sequence[int],
) -> SettledMarket:
    """Return a market as both sides have it now: a settlement may be corrected any moment."""
    rows = dict(market.rows)
    try:
        for number in subaccounts:
            for items in settlements(reader.exchange, number, None, None, market.ticker):
                for item in items:
                    row = _read(item, number, reader.now())
                    if row is not None and row.market_ticker == market.ticker:
                        rows[row.subaccount_number] = row
    except ExchangeError as error:
        if not is_not_to_be_had(error):
            raise
    sums = lookups.settled_sums([market.ticker]).get(market.ticker, {})
    return SettledMarket(market.ticker, rows, sums)


def _note_moved(market: SettledMarket, settled: SettledMarkets) -> None:
    if market.is_moved:
        settled.notes.append(
            f"{market.ticker}: contracts were moved between subaccounts, which leaves no fill; "
            "what was settled of all subaccounts together agrees."
        )


def _take_listed_for_each(market: SettledMarket, settled: SettledMarkets) -> None:
    if market.is_listed_for_each:
        settled.listed_for_each.append(market.ticker)


def _note_listed_for_each(settled: SettledMarkets) -> None:
    """Note that the exchange tells no subaccounts apart, where several markets show it."""
    found = sorted(settled.listed_for_each)
    if len(found) >= _SHOW_IT:
        settled.notes.append(
            f"{len(found):,} settled markets, such as {found[0]}, are listed with the same totals "
            "for several subaccounts, and these are what all their fills add up to: the exchange "
            "does not tell subaccounts apart there, so that the view of cash by market counts what "
            "was paid once for each of them."
        )


def _note_money(market: SettledMarket, settled: SettledMarkets) -> None:
    """Note the first market whose costs or revenue differ; they prove nothing by themselves."""
    for what, differs in (("costs", market.costs_differ), ("revenue", market.revenue_differs)):
        if differs and not any(note.endswith(_of_money(what)) for note in settled.notes):
            settled.notes.append(f"{market.ticker}: {_of_money(what)}")


def _note_stored_money(count: int, what: str, ticker: str, settled: SettledMarkets) -> None:
    if count:
        settled.notes.append(f"{ticker}: {_of_money(what)}")


def _of_money(what: str) -> str:
    return (
        f"contracts and fees are those of its settlement, but not, beyond rounding, its {what} "
        "(only one such market is named)."
    )


def _batches(pages: Iterable[list[str]]) -> Iterator[list[str]]:
    batch: list[str] = []
    for page in pages:
        batch += page
        if len(batch) >= _AT_ONCE:
            yield batch
            batch = []
    yield batch


def _read(item: str, subaccount: int, now: datetime) -> SettledRow | None:
    read = read_settlement(decode_item(item), item, subaccount, now)
    if not isinstance(read, Settlement):
        return None
    return SettledRow(
        read.ticker,
        read.subaccount_number,
        read.settled_at,
        read.market_result,
        read.yes_contracts,
        read.no_contracts,
        read.yes_cost_dollars,
        read.no_cost_dollars,
        read.revenue_dollars,
        read.fee_dollars,
        read.payout_per_yes_dollars,
    )


def _hash(ticker: str) -> int:
    return key_hash(ticker, "")
