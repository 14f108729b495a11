"""Fills against rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from kalshi_fills.pipeline.content import Content, content, differences, merge, time_of
from kalshi_fills.pipeline.fills import Fill, FillKey
from kalshi_fills.pipeline.seen import HourDigest
from kalshi_fills.pipeline.window import Window
from kalshi_fills.reconcile.breaks import (
    Break,
    mismatch,
    missing_fill,
    text_of,
    unexpected_row,
    value_of,
)
from kalshi_fills.warehouse.fills import FillStore

_HOUR: Final = timedelta(hours=1)

_HOURS_AT_ONCE: Final = 24

_LAST_OF_SECOND: Final = timedelta(microseconds=999_999)


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
        elif time_of(texts) < current_until:
            yield unexpected_row(key, texts)
    for key, fill in expected.items():
        texts = content(fill)
        if key in rows:
            # Of several rows of a fill the one that is most like it is the fill.
            rows[key].sort(key=lambda row, texts=texts: len(differences(row, texts)))  # type: ignore[misc]
            first, *others = rows[key]
            yield from _mismatches(key, first, texts)
            for again in others:
                if key.fill_id and _ticker(again) == _ticker(first):
                    # The same row, of which it is not defined what it holds.
                    yield from _mismatches(key, again, texts)
                else:
                    yield unexpected_row(key, again)
        elif must_be_there(fill):
            yield missing_fill(fill)


def _mismatches(key: FillKey, held: Content, sent: Content) -> Iterator[Break]:
    for found in differences(held, sent):
        yield mismatch(
            key,
            _ticker(sent),
            found.field,
            value_of(found.field, found.sent),
            value_of(found.field, found.stored),
        )


def _ticker(texts: Content) -> str:
    return text_of(texts, "market_ticker")


def by_key(sent: Iterable[Fill]) -> dict[FillKey, Fill]:
    """Return each fill once; of one sent with several contents the one that knows most."""
    fills: dict[FillKey, Fill] = {}
    for fill in sent:
        first = fills.setdefault(fill.key, fill)
        if first.raw_json != fill.raw_json:
            fills[fill.key] = merge(first, fill)
    return fills


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
