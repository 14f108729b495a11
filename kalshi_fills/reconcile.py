"""The exchange against the table: where they disagree, fill by fill.

Digests per hour are compared first, a few bytes an hour whatever the size of the account. Only
where an hour differs are its rows read, and the exchange asked again for that hour, so that every
break can be named with both sides' values. Repairs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from kalshi_fills.fills import Fill, FillKey
from kalshi_fills.listing import Window
from kalshi_fills.pipeline import Content, HourDigest, content, differences
from kalshi_fills.store import FillStore

_HOUR: Final = timedelta(hours=1)
_HOURS_AT_ONCE: Final = 24


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
        for found in _in_stretch(store, stretch, ask_again, known_to_pass, current_until):
            yield found, start


def _in_stretch(
    store: FillStore,
    stretch: Window,
    ask_again: Callable[[Window], Iterator[Fill]],
    known_to_pass: Callable[[FillKey], bool],
    current_until: datetime,
) -> Iterator[Break]:
    sent: dict[FillKey, Fill] = {}
    for fill in ask_again(stretch):
        sent.setdefault(fill.key, fill)
    assert stretch.start is not None
    rows: dict[FillKey, tuple[str, Content]] = {}
    for key, ticker, texts in store.between(stretch.start, stretch.end):
        if key in sent and key not in rows:
            rows[key] = (ticker, texts)
        elif texts[0] < content_time(current_until):
            value = f"{texts[11]} {texts[4]} at {texts[9]} on {texts[0]}"
            yield Break("unexpected", "fill", key.fill_id, key.order_id, ticker, None, None, value)
    for key, fill in sent.items():
        texts = content(fill)
        if key in rows:
            for difference in differences(rows[key][1], texts):
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
        elif stretch.holds(fill.executed_at) and known_to_pass(key):
            value = f"{texts[11]} {texts[4]} at {texts[9]} on {texts[0]}"
            yield Break(
                "missing", "fill", key.fill_id, key.order_id, fill.ticker, None, value, None
            )


def content_time(moment: datetime) -> str:
    """Write a time as contents do, so that texts of the same width compare like times."""
    return moment.isoformat(" ", "microseconds")[:26]


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
