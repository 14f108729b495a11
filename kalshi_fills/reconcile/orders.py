"""Orders against what their fills add up to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from kalshi_fills.exchange.endpoints import Order
from kalshi_fills.pipeline.content import CONTENT_FIELDS, Content, content
from kalshi_fills.pipeline.fills import Fill, FillKey
from kalshi_fills.reconcile.breaks import Break
from kalshi_fills.reconcile.fills import by_key, compare_fills
from kalshi_fills.reconcile.survey import OrderSums

_ORDER_READS: Final = 3

_SIZE: Final = CONTENT_FIELDS.index("size")

_FEE: Final = CONTENT_FIELDS.index("fee_dollars")

_NO_FILLS: Final = OrderSums(Decimal(0), Decimal(0))


class OrderOutcome(NamedTuple):
    """What came of comparing one order."""

    order: Order
    breaks: list[Break]
    """Of scope fill where its fills tell what differs, else of scope order."""
    pending: bool = False
    """It differs by what may still come: fills on their way, or an update ahead of its fills."""

    @property
    def agrees(self) -> bool:
        """Return whether contracts and fees are the same on both sides."""
        return not self.breaks and not self.pending


class OrderReader(NamedTuple):
    """What an order that differs is looked at again with."""

    fills_of: Callable[[Order], Iterable[Fill]]
    """Returns every fill of an order that the exchange has, of any age."""
    latest_of: Callable[[Order], Order]
    """Returns an order as it is now."""
    rows_of: Callable[[Order], list[tuple[FillKey, Content]]]
    """Returns every row of an order that the table has, of any age."""
    must_be_stored: Callable[[Fill], bool]
    """Returns whether a fill that the table lacks is a break."""
    current_until: datetime
    """Up to when the exchange's answers are current."""


def compare_orders(
    page: Sequence[Order], held: Mapping[str, OrderSums], reader: OrderReader
) -> Iterator[OrderOutcome]:
    """Compare orders with what the table's fills of them, of any age, add up to.

    An order that differs is looked at again: all its fills are asked for and compared with all its
    rows, so that a break names the fill wherever it lies. Only where the exchange's own fills do
    not add up to its order is the break one of the order: it may have been filled meanwhile, or its
    listing may lag, so that the order is asked for once more; and one that was updated after the
    time up to which the exchange's answers are current may be ahead of its fills.

    Args:
        page: orders of the exchange, filled in part or whole.
        held: contracts and fees of the table, by order id.
        reader: reads what belongs to an order that differs.

    Yields:
        What came of each order, in their order.
    """
    for order in page:
        sums = held.get(order.order_id, _NO_FILLS)
        if _is_as_ordered(order, sums):
            yield OrderOutcome(order, [])
        else:
            yield _look_at_order(order, reader)


def _look_at_order(order: Order, reader: OrderReader) -> OrderOutcome:
    rows = reader.rows_of(order)
    latest, sent = _settled(order, reader.fills_of, reader.latest_of)
    awaited: list[Fill] = []

    def must_be_there(fill: Fill) -> bool:
        if reader.must_be_stored(fill):
            return True
        awaited.append(fill)
        return False

    breaks = list(compare_fills(sent, rows, must_be_there, reader.current_until))
    sums = _sums_of(rows)
    known = {fill.key for fill in sent}
    ahead = any(key not in known for key, _ in rows)
    pending = bool(awaited) or (ahead and not breaks)
    by_fills = _sums_of([(fill.key, content(fill)) for fill in sent])
    if not _is_as_ordered(latest, by_fills):
        if latest.updated_at is not None and latest.updated_at >= reader.current_until:
            return OrderOutcome(latest, breaks, pending=True)
        return OrderOutcome(latest, [*breaks, _order_break(latest, by_fills, rows)], pending)
    if not breaks and not pending and not _is_as_ordered(latest, sums):
        # No fill tells what differs, as where the exchange tells no fees of an old one.
        return OrderOutcome(latest, [_order_break(latest, sums, rows)])
    return OrderOutcome(latest, breaks, pending)


def _is_as_ordered(order: Order, sums: OrderSums) -> bool:
    """Return whether contracts agree, and fees where both sides know all of them."""
    if order.contracts != sums.contracts:
        return False
    return (
        order.fees_dollars is None
        or sums.fees_dollars is None
        or order.fees_dollars == sums.fees_dollars
    )


def _sums_of(fills: Sequence[tuple[FillKey, Content]]) -> OrderSums:
    fees = [Decimal(texts[_FEE]) for _, texts in fills if texts[_FEE]]
    return OrderSums(
        sum((Decimal(texts[_SIZE]) for _, texts in fills), Decimal(0)),
        sum(fees, Decimal(0)) if len(fees) == len(fills) else None,
    )


def _settled(
    order: Order,
    fills_of: Callable[[Order], Iterable[Fill]],
    latest_of: Callable[[Order], Order],
) -> tuple[Order, list[Fill]]:
    """Give an order and its fills, read again while the one is ahead of the other."""
    latest = order
    for _ in range(_ORDER_READS):
        sent = list(by_key(fills_of(order)).values())
        if sum((fill.contracts for fill in sent), Decimal(0)) == latest.contracts:
            break
        latest = latest_of(order)
    return latest, sent


def _order_break(
    order: Order, differing: OrderSums, rows: Sequence[tuple[FillKey, Content]]
) -> Break:
    """Return the break of an order that differs from these sums, with what the table has."""
    held = _sums_of(rows)
    if order.contracts != differing.contracts:
        field, sent, table = "fill_count_fp", order.contracts, held.contracts
    else:
        fees = held.fees_dollars if held.fees_dollars is not None else Decimal(0)
        field, sent, table = "fees_dollars", order.fees_dollars or Decimal(0), fees
    return Break(
        "mismatch" if rows else "missing",
        "order",
        None,
        order.order_id,
        order.ticker,
        field,
        sent,
        table if rows else None,
    )
