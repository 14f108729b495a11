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
from kalshi_fills.pipeline import Content, HourDigest, content, differences, merge
from kalshi_fills.store import FillStore

_HOUR: Final = timedelta(hours=1)
_HOURS_AT_ONCE: Final = 24
_LAST_OF_SECOND: Final = timedelta(microseconds=999_999)
_ORDER_READS: Final = 3


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
            return (
                _surely_holds(stretch, fill.executed_at)
                and known_to_pass(fill.key)
                and (pending_from is None or fill.executed_at < pending_from)
            )

        for found in compare_fills(ask_again(stretch), held_rows, must_be_there, current_until):
            yield found, start


def compare_fills(
    sent: Iterable[Fill],
    held: Iterable[tuple[FillKey, Content]],
    must_be_there: Callable[[Fill], bool],
    current_until: datetime,
) -> Iterator[Break]:
    """Hold fills against rows, one by one.

    Args:
        sent: the exchange's fills, possibly twice.
        held: identity and content of the table's rows.
        must_be_there: says whether a fill that is not in the table is a break.
        current_until: event time up to which the exchange's answers are current.

    Yields:
        The breaks; a second row of a fill is unexpected.
    """
    expected: dict[FillKey, Fill] = {}
    for fill in sent:
        first = expected.setdefault(fill.key, fill)
        if first.raw_json != fill.raw_json:
            expected[fill.key] = merge(first, fill)
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
            for again in rows[key][1:]:
                yield _unexpected(key, again)
            for difference in differences(rows[key][0], texts):
                yield Break(
                    "mismatch",
                    "fill",
                    key.fill_id,
                    key.order_id,
                    fill.ticker,
                    difference.field,
                    difference.sent,
                    difference.stored,
                )
        elif must_be_there(fill):
            yield Break(
                "missing", "fill", key.fill_id, key.order_id, fill.ticker, None, _told(texts), None
            )


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


def compare_orders(
    page: Sequence[Order],
    held: Mapping[str, OrderSums],
    fills_of: Callable[[Order], Iterable[Fill]],
    latest_of: Callable[[Order], Order],
) -> Iterator[Break]:
    """Hold orders against what the table's fills of them add up to.

    An order that differs is looked at again: its fills are asked for, and where they add up to what
    the order says, the exchange is at one with itself, and what the table lacks is named fill by
    fill elsewhere, or is newer than what was compared. Where they do not, the order is asked for
    once more: it may have been filled meanwhile, or its listing may have lagged.

    Args:
        page: orders of the exchange, filled in part or whole.
        held: contracts and fees of the table, by order id.
        fills_of: asks the exchange for every fill of an order.
        latest_of: asks the exchange for an order as it is now.

    Yields:
        Breaks of scope order, for contracts or, where these agree, for fees.
    """
    for order in page:
        sums = held.get(order.order_id)
        contracts = sums.contracts if sums else Decimal(0)
        fees = sums.fees_dollars if sums else None
        fees_known = order.fees_dollars is not None and fees is not None
        if contracts == order.contracts and (not fees_known or fees == order.fees_dollars):
            continue
        latest, sent = _settled(order, fills_of, latest_of)
        if sum((fill.contracts for fill in sent), Decimal(0)) != latest.contracts:
            held_contracts = contracts if sums else None
            yield _order_break(latest, "fill_count_fp", latest.contracts, held_contracts)
            continue
        sent_fees = [fill.fee_dollars for fill in sent if fill.fee_dollars is not None]
        if fees_known and len(sent_fees) == len(sent) and sum(sent_fees) != latest.fees_dollars:
            yield _order_break(latest, "fees_dollars", latest.fees_dollars, fees)


def _settled(
    order: Order,
    fills_of: Callable[[Order], Iterable[Fill]],
    latest_of: Callable[[Order], Order],
) -> tuple[Order, list[Fill]]:
    """Give an order and its fills, read again while the one is ahead of the other."""
    latest = order
    for _ in range(_ORDER_READS):
        sent = list({fill.key: fill for fill in fills_of(order)}.values())
        if sum((fill.contracts for fill in sent), Decimal(0)) == latest.contracts:
            break
        latest = latest_of(order)
    return latest, sent


def _order_break(
    order: Order, field: str, exchange: Decimal | None, table: Decimal | None
) -> Break:
    places = 2 if field == "fill_count_fp" else 6
    return Break(
        "missing" if table is None else "mismatch",
        "order",
        None,
        order.order_id,
        order.ticker,
        field,
        f"{exchange:.{places}f}",
        None if table is None else f"{table:.{places}f}",
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
