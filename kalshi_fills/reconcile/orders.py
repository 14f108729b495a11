"""The leg of orders: what each order of the exchange says against its fills in the table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import chain, compress
from operator import not_
from typing import TYPE_CHECKING, Final, NamedTuple

from kalshi_fills.errors import ExchangeError
from kalshi_fills.exchange.ahead import read_ahead
from kalshi_fills.exchange.endpoints import Listed, is_not_to_be_had, orders
from kalshi_fills.pipeline.content import key_hash
from kalshi_fills.pipeline.fills import Content, Fill, FillKey
from kalshi_fills.pipeline.seen import SeenFills
from kalshi_fills.pipeline.window import Window
from kalshi_fills.reconcile.breaks import Break
from kalshi_fills.reconcile.fills import by_key, compare_fills
from kalshi_fills.reconcile.listed import Bounds, ListedFills, must_be_stored
from kalshi_fills.reconcile.lookups import OrderSums, TableLookups
from kalshi_fills.reconcile.moved import join_moved_fills
from kalshi_fills.words import many, one_or_more

if TYPE_CHECKING:
    from kalshi_fills.exchange.endpoints import Exchange
    from kalshi_fills.exchange.records import Order
    from kalshi_fills.reconcile.reader import ExchangeReader
    from kalshi_fills.reconcile.reconciliation import Reconciliation
    from kalshi_fills.warehouse.store import FillStore

_ORDER_READS: Final = 3

_ORDERS_AT_ONCE: Final = 20_000

_MARKETS_SOUGHT: Final = 50
"""Markets in which orders are sought that are older than the window."""

_ORDERS_LEAVE_LIVE_AFTER: Final = timedelta(days=14)

_NO_FILLS: Final = OrderSums(Decimal(0), Decimal(0))


class OrderOutcome(NamedTuple):
    """What came of comparing one order."""

    order: Order
    breaks: list[Break]
    """Of scope fill where its fills say what differs, else of scope order."""
    pending: bool = False
    """It differs by what may still come: fills on their way, or an update ahead of its fills."""

    @property
    def agrees(self) -> bool:
        """Return whether contracts and fees are the same on both sides."""
        return not self.breaks and not self.pending


@dataclass(slots=True)
class OrdersCompared:
    """Which orders were compared: one may be listed more than once, in both tiers."""

    agreeing: SeenFills = field(default_factory=SeenFills)
    differing: set[str] = field(default_factory=set)

    def holds(self, order_id: str) -> bool:
        """Return whether an order was compared."""
        return order_id in self.differing or _order_hash(order_id) in self.agreeing

    def add_agreeing(self, orders: Iterable[Order]) -> None:
        """Note that orders agree."""
        hashes = [_order_hash(order.order_id) for order in orders]
        self.agreeing.add_all(hashes, [0] * len(hashes))

    def take(self, outcome: OrderOutcome) -> bool:
        """Note what came of an order; return whether it differs and did not before."""
        order_id = outcome.order.order_id
        if outcome.agrees:
            self.add_agreeing([outcome.order])
            return False
        new = order_id not in self.differing
        self.differing.add(order_id)
        return new


def _order_hash(order_id: str) -> int:
    return key_hash("", order_id)


class OrdersAhead(NamedTuple):
    """The orders of a window, which are being read."""

    batches: Iterator[list[Order]]
    listing: Listed
    """How far they could be read."""


def read_orders_ahead(exchange: Exchange, window: Window) -> OrdersAhead:
    """Begin to read the orders of a window, in a thread of its own."""
    listing = Listed()
    return OrdersAhead(read_ahead(_order_batches(exchange, window, listing)), listing)


def compare_orders(
    ahead: OrdersAhead,
    reader: ExchangeReader,
    store: FillStore,
    lookups: TableLookups,
    listed: ListedFills,
    bounds: Bounds,
    found: Reconciliation,
    now: datetime,
) -> None:
    """Compare the orders of the window with what the table's fills of them, of any age, add up to.

    An order that differs is looked at again: all its fills are asked for and compared with all its
    rows, so that a break names the fill wherever it lies. Only where the exchange's own fills do
    not add up to its order is the break one of the order: it may have been filled meanwhile, or its
    listing may lag, so that the order is asked for once more; and one that was updated after the
    time up to which the exchange's answers are complete may be ahead of its fills.
    """
    exchange = reader.exchange
    listing = ahead.listing
    compared = OrdersCompared()
    try:
        for batch in chain(
            ahead.batches,
            _older_orders(exchange, lookups, found.compared, compared),
        ):
            sums = lookups.order_sums({order.order_id: order.ticker for order in batch})
            agree = [_agrees(order, sums.get(order.order_id, _NO_FILLS)) for order in batch]
            compared.add_agreeing(compress(batch, agree))
            for order in compress(batch, map(not_, agree)):
                outcome = _compare_order(order, reader, lookups, listed, bounds)
                if not compared.take(outcome):
                    continue
                found.pending_orders += outcome.pending and not outcome.breaks
                new = found.not_listed_yet(outcome.breaks)
                if new:
                    found.add(join_moved_fills(new, store, reader, listed))
                    found.note_difference(outcome.order.created_at)
    except ExchangeError as error:
        if not is_not_to_be_had(error):
            raise
        found.blind.append(f"Orders could not be compared: {error.message}.")
        return
    found.proven.orders = len(compared.agreeing)
    if not compared.agreeing and not compared.differing:
        _note_missing_orders(exchange, listing, listed.an_old_fill, found)
    elif listing.unreadable:
        found.notes.append(
            f"{listing.unreadable:,} of {many(listing.items, 'order')} could not be read and "
            f"{one_or_more(listing.unreadable, 'was', 'were')} not compared."
        )
    since = found.compared.start
    if (
        listing.no_archive
        and bounds.cutoff is not None
        and (since is None or since < now - _ORDERS_LEAVE_LIVE_AFTER)
    ):
        found.blind.append(
            "Old orders were not compared: the exchange has no archive of them (404)."
        )


def compare_order_rows(
    lookups: TableLookups | None, listed: ListedFills, found: Reconciliation
) -> None:
    """Compare rows per order with fills per order: all that a table without ids allows."""
    rows_of = lookups.rows_of_orders() if lookups is not None else {}
    found.table_rows = sum(one.row_count for one in rows_of.values())
    by_size = sorted(
        rows_of.keys() | listed.per_order.keys(),
        key=lambda order_id: (-rows_of[order_id].row_count if order_id in rows_of else 0, order_id),
    )
    for order_id in by_size:
        stored = rows_of.get(order_id)
        rows, fills = stored.row_count if stored else 0, listed.per_order[order_id]
        if rows == fills:
            found.proven.orders += 1
            continue
        if not found.has_room():
            return
        kind = "unexpected" if not fills else "missing" if not rows else "mismatch"
        ticker = stored.market if stored else None
        found.breaks.append(
            Break(kind, "order", None, order_id, ticker, "fills", fills or None, rows or None)
        )


def _order_batches(exchange: Exchange, window: Window, listing: Listed) -> Iterator[list[Order]]:
    """Yield the orders of a window, many pages at once.

    The table is read once for each batch: of a large one, each reading takes its time.
    """
    batch: list[Order] = []
    for page in chain(orders(exchange, window, listed=listing), [None]):
        batch += page or []
        if page is None or len(batch) >= _ORDERS_AT_ONCE:
            yield batch
            batch = []


def _older_orders(
    exchange: Exchange, lookups: TableLookups, window: Window, compared: OrdersCompared
) -> Iterator[list[Order]]:
    """Yield the orders of the window's fills that were created before the window."""
    if window.start is None:
        return
    wanted: dict[str, set[str]] = {}
    for one in lookups.orders_of_window():
        sought = one.market in wanted or len(wanted) < _MARKETS_SOUGHT
        if sought and not compared.holds(one.exchange_order_id):
            wanted.setdefault(one.market, set()).add(one.exchange_order_id)
    for ticker, order_ids in wanted.items():
        for page in orders(exchange, Window(None, window.start), ticker):
            yield [order for order in page if order.order_id in order_ids]


def _note_missing_orders(
    exchange: Exchange, listing: Listed, a_fill: Fill | None, found: Reconciliation
) -> None:
    """Note where no order could be compared though there must be some."""
    if listing.unreadable:
        found.blind.append(
            f"Orders could not be compared: none of the {listing.items:,} listed could be read; "
            "the exchange may have renamed fill_count_fp."
        )
    elif a_fill is not None:
        # Its order may be older than the window.
        until = Window(None, found.compared.end)
        if not any(orders(exchange, until, a_fill.content.market_ticker)):
            found.blind.append(
                "Orders could not be compared: the exchange lists none, not even those of the "
                "fills it lists."
            )


def _compare_order(
    order: Order,
    reader: ExchangeReader,
    lookups: TableLookups,
    listed: ListedFills,
    bounds: Bounds,
) -> OrderOutcome:
    """Return what came of an order that differs from what its fills in the table add up to."""
    rows = lookups.fills_of_order(order.order_id)
    latest, fills = _read_again(order, reader)
    breaks: list[Break] = []
    awaited = False
    for one in compare_fills(fills, rows, bounds.current_until):
        if one.kind == "missing" and not must_be_stored(fills[one.key], bounds, listed):
            awaited = True
        else:
            breaks.append(one)
    ahead = any(row.key not in fills for row in rows)
    pending = awaited or (ahead and not breaks)
    by_fills = _sums_of([fill.content for fill in fills.values()])
    if not _agrees(latest, by_fills):
        if latest.updated_at is not None and latest.updated_at >= bounds.current_until:
            return OrderOutcome(latest, breaks, pending=True)
        return OrderOutcome(latest, [*breaks, _order_break(latest, by_fills, rows)], pending)
    by_rows = _sums_of(rows)
    if not breaks and not pending and not _agrees(latest, by_rows):
        # No fill says what differs, as where the exchange knows no fees of an old one.
        return OrderOutcome(latest, [_order_break(latest, by_rows, rows)])
    return OrderOutcome(latest, breaks, pending)


def _agrees(order: Order, sums: OrderSums) -> bool:
    """Return whether contracts agree, and fees where both sides know all of them."""
    if order.contracts != sums.contracts:
        return False
    return (
        order.fees_dollars is None
        or sums.fees_dollars is None
        or order.fees_dollars == sums.fees_dollars
    )


def _sums_of(rows: Sequence[Content]) -> OrderSums:
    known = [row.fee_dollars for row in rows]
    fees = [Decimal(text) for text in known if text]
    return OrderSums(
        sum((Decimal(row.size) for row in rows), Decimal(0)),
        sum(fees, Decimal(0)) if len(fees) == len(rows) else None,
    )


def _read_again(order: Order, reader: ExchangeReader) -> tuple[Order, Mapping[FillKey, Fill]]:
    """Return an order and its fills, read again while the one is ahead of the other."""
    latest = order
    for _ in range(_ORDER_READS):
        fills = by_key(reader.fills_of_order(order.order_id, order.ticker, order.created_at))
        if _sums_of([fill.content for fill in fills.values()]).contracts == latest.contracts:
            break
        latest = _latest(order, reader.exchange)
    return latest, fills


def _latest(order: Order, exchange: Exchange) -> Order:
    """Return an order as it is now, asked for by the moment it was created at."""
    moment = Window(order.created_at, order.created_at + timedelta(microseconds=1))
    for page in orders(exchange, moment, order.ticker):
        for latest in page:
            if latest.order_id == order.order_id:
                return latest
    return order


def _order_break(order: Order, differing: OrderSums, rows: Sequence[Content]) -> Break:
    """Return the break of an order that differs from these sums, with what the table has."""
    sums = _sums_of(rows)
    if order.contracts != differing.contracts:
        field, exchange, table = "fill_count_fp", order.contracts, sums.contracts
    else:
        field = "fees_dollars"
        exchange, table = order.fees_dollars or Decimal(0), sums.fees_dollars or Decimal(0)
    return Break(
        "mismatch" if rows else "missing",
        "order",
        None,
        order.order_id,
        order.ticker,
        field,
        exchange,
        table if rows else None,
    )
