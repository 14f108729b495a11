"""The exchange against the table: where they disagree, by fill, by order, by position.

Digests per hour are compared first, a few bytes an hour whatever the size of the account. Only
where an hour differs are its rows read, and the exchange asked again for that hour, so that every
break can be named with both sides' values. Repairs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from kalshi_fills.account import Order
from kalshi_fills.evidence import OrderSums
from kalshi_fills.fills import Fill, FillKey
from kalshi_fills.listing import Window
from kalshi_fills.pipeline import (
    CONTENT_FIELDS,
    Content,
    HourDigest,
    content,
    differences,
    merge,
)
from kalshi_fills.store import FillStore

_HOUR: Final = timedelta(hours=1)
_HOURS_AT_ONCE: Final = 24
_LAST_OF_SECOND: Final = timedelta(microseconds=999_999)
_ORDER_READS: Final = 3
_TICKER: Final = CONTENT_FIELDS.index("market_ticker")
_SIZE: Final = CONTENT_FIELDS.index("size")
_FEE: Final = CONTENT_FIELDS.index("fee_dollars")


_NO_FILLS: Final = OrderSums(Decimal(0), Decimal(0))


class Break(NamedTuple):
    """One disagreement between exchange and table."""

    kind: str
    """missing (exchange only), unexpected (table only) or mismatch (both, different content)."""
    scope: str
    """fill, order or position."""
    fill_id: str | None
    order_id: str | None
    market_ticker: str | None
    field: str | None
    exchange: str | None
    """What the exchange says; None where it knows nothing of it."""
    table: str | None
    """What the table says; None where it has nothing of it."""


def compare(
    expected: Mapping[datetime, HourDigest],
    store: FillStore,
    window: Window,
    ask_again: Callable[[Window], Iterator[Fill]],
    *,
    known_to_pass: Callable[[FillKey], bool],
    current_until: datetime,
    pending_from: datetime | None = None,
    on_pending: Callable[[Fill], None] = lambda _: None,
    visible: Callable[[Content], bool] = lambda _: True,
) -> Iterator[tuple[Break, datetime]]:
    """Compare what the exchange sent in a window with what the table now holds.

    Args:
        expected: count and digest of the fills sent, by hour.
        store: the table.
        window: the range that is compared.
        ask_again: yields the exchange's fills of a range, gated, possibly twice.
        known_to_pass: says whether the pass had met a fill; one it had not is no break, it came
            after.
        current_until: event time up to which the exchange's answers are current; a row of ours
            after it may be ahead of the exchange.
        pending_from: event time from which on a fill need not be in the table yet.
        on_pending: is called with each fill that is not in the table and need not be yet.
        visible: says whether the exchange shows a fill of ours to this key at all.

    Yields:
        The breaks, by hour, as they are found, each with the start of what was compared then;
        none if both sides agree.

    Raises:
        KalshiFillsError: either side could not be read.
    """
    held = store.hours(window.start, window.end)
    differing = sorted(
        hour
        for hour in expected.keys() | held.keys()
        if expected.get(hour, HourDigest()) != held.get(hour, HourDigest())
    )
    for first, last in _stretches(differing):
        start = first if window.start is None else max(first, window.start)
        stretch = Window(start, min(last + _HOUR, window.end))
        assert stretch.start is not None
        held_rows = [
            (key, texts)
            for key, _, texts in store.between(stretch.start, stretch.end)
            if visible(texts)
        ]

        def must_be_there(fill: Fill, stretch: Window = stretch) -> bool:
            if not _surely_holds(stretch, fill.executed_at) or not known_to_pass(fill.key):
                return False
            if pending_from is None or fill.executed_at < pending_from:
                return True
            on_pending(fill)
            return False

        for found in compare_fills(ask_again(stretch), held_rows, must_be_there, current_until):
            yield found, start


def compare_fills(
    sent: Iterable[Fill],
    held: Iterable[tuple[FillKey, Content]],
    must_be_there: Callable[[Fill], bool],
    current_until: datetime,
) -> Iterator[Break]:
    """Hold fills against rows, one by one.

    Of a fill that was sent with several contents the one that knows most counts, as in the table.

    Args:
        sent: the exchange's fills, possibly twice.
        held: identity and content of the table's rows.
        must_be_there: says whether a fill that is not in the table is a break.
        current_until: event time up to which the exchange's answers are current.

    Yields:
        The breaks; a second row of a fill is unexpected.
    """
    expected = by_key(sent)
    rows: dict[FillKey, list[Content]] = {}
    for key, texts in held:
        if key in expected:
            rows.setdefault(key, []).append(texts)
        elif texts[0] < content_time(current_until):
            yield _unexpected(key, texts)
    for key, fill in expected.items():
        texts = content(fill)
        if key in rows:
            # Of several rows of a fill the one that is most like it is the fill.
            rows[key].sort(key=lambda row, texts=texts: len(differences(row, texts)))  # type: ignore[misc]
            first, *others = rows[key]
            yield from _mismatches(key, first, texts)
            for again in others:
                if key.fill_id and again[_TICKER] == first[_TICKER]:
                    # The same row, of which it is not defined what it holds.
                    yield from _mismatches(key, again, texts)
                else:
                    yield _unexpected(key, again)
        elif must_be_there(fill):
            yield Break(
                "missing", "fill", key.fill_id, key.order_id, fill.ticker, None, _told(texts), None
            )


def _mismatches(key: FillKey, held: Content, sent: Content) -> Iterator[Break]:
    for found in differences(held, sent):
        yield Break(
            "mismatch",
            "fill",
            key.fill_id,
            key.order_id,
            sent[_TICKER],
            found.field,
            found.sent,
            found.stored,
        )


def by_key(sent: Iterable[Fill]) -> dict[FillKey, Fill]:
    """Return each fill once; of one sent with several contents the one that knows most."""
    fills: dict[FillKey, Fill] = {}
    for fill in sent:
        first = fills.setdefault(fill.key, fill)
        if first.raw_json != fill.raw_json:
            fills[fill.key] = merge(first, fill)
    return fills


def _unexpected(key: FillKey, texts: Content) -> Break:
    return Break(
        "unexpected", "fill", key.fill_id, key.order_id, texts[3], None, None, _told(texts)
    )


def _told(texts: Content) -> str:
    """Write a fill in a few words: 3.00 yes at 0.410000 (the price of its side) on its time."""
    price = texts[10] if texts[4] == "no" else texts[9]
    return f"{texts[11]} {texts[4]} at {price} on {texts[0]}"


def time_told(told: str | None) -> str:
    """Give the time at the end of a fill in words, as text that compares like times."""
    return (told or "").rpartition(" on ")[2]


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
        field, places, sent, table = "fill_count_fp", 2, order.contracts, held.contracts
    else:
        fees = held.fees_dollars if held.fees_dollars is not None else Decimal(0)
        field, places, sent, table = "fees_dollars", 6, order.fees_dollars or Decimal(0), fees
    return Break(
        "mismatch" if rows else "missing",
        "order",
        None,
        order.order_id,
        order.ticker,
        field,
        f"{sent:.{places}f}",
        f"{table:.{places}f}" if rows else None,
    )


class MarketPosition(NamedTuple):
    """One market on both sides, in yes contracts."""

    ticker: str
    told: Mapping[int, Decimal]
    """What the exchange says is held, by subaccount."""
    held: Mapping[int | None, Decimal]
    """What the table's fills add up to, by subaccount; None where the fill does not tell."""

    def differing(self) -> list[tuple[int | None, Decimal, Decimal]]:
        """Give subaccount, exchange's and table's contracts where they differ.

        Where a fill's subaccount is not known, only the sums over all of them can be compared.
        """
        if None in self.held:
            told, held = sum(self.told.values(), Decimal(0)), sum(self.held.values(), Decimal(0))
            return [(None, told, held)] if told != held else []
        return [
            (subaccount, contracts, self.held.get(subaccount, Decimal(0)))
            for subaccount, contracts in sorted(self.told.items())
            if contracts != self.held.get(subaccount, Decimal(0))
        ]

    def is_met_by(self, more: Sequence[Fill]) -> bool:
        """Whether each position agrees after some of these fills, taken one after the other."""
        differing = {one[0] for one in self.differing()}
        for count in range(1, len(more) + 1):
            sums = sum_up(more[:count])
            held = {
                where: self.held.get(where, Decimal(0)) + sums.get(where, Decimal(0))
                for where in self.held.keys() | sums.keys()
            }
            differing &= {one[0] for one in self._replace(held=held).differing()}
        return not differing

    def is_moved_between_subaccounts(self) -> bool:
        """Whether all subaccounts together agree: then contracts were moved, without a fill."""
        return sum(self.told.values(), Decimal(0)) == sum(
            (self.held.get(subaccount, Decimal(0)) for subaccount in self.told), Decimal(0)
        )

    def breaks(self) -> Iterator[Break]:
        """Yield a break of scope position for each subaccount that differs."""
        for subaccount, told, held in self.differing():
            where = "position_fp" if subaccount is None else f"position_fp of {subaccount}"
            yield Break(
                "mismatch", "position", None, None, self.ticker, where, f"{told:.2f}", f"{held:.2f}"
            )


def sum_up(fills: Iterable[Fill]) -> dict[int | None, Decimal]:
    """Add up the fills of one market by subaccount, yes contracts positive, no negative."""
    sums: dict[int | None, Decimal] = {}
    for fill in fills:
        where = fill.subaccount_number
        signed = fill.contracts if fill.outcome == "yes" else -fill.contracts
        sums[where] = sums.get(where, Decimal(0)) + signed
    return sums


def content_time(moment: datetime) -> str:
    """Write a time as contents do, so that texts of the same width compare like times."""
    return moment.isoformat(" ", "microseconds")[:26]


def _surely_holds(stretch: Window, moment: datetime) -> bool:
    """Return whether a time lies in a range, also where the table knows it finer than seconds."""
    latest = moment if moment.microsecond else moment + _LAST_OF_SECOND
    return stretch.holds(moment) and stretch.holds(latest)


def _stretches(hours: list[datetime]) -> Iterator[tuple[datetime, datetime]]:
    """Join neighbouring hours, up to a day at once, so that memory stays that of a day."""
    index = 0
    while index < len(hours):
        first = last = hours[index]
        index += 1
        while (
            index < len(hours)
            and hours[index] - last == _HOUR
            and hours[index] - first < _HOURS_AT_ONCE * _HOUR
        ):
            last = hours[index]
            index += 1
        yield first, last
