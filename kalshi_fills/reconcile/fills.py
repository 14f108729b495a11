"""Fills against rows: which hours differ, and in them which fills. Sync and diagnose use it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from kalshi_fills.pipeline.content import differences, merge
from kalshi_fills.pipeline.seen import HourDigest
from kalshi_fills.pipeline.window import Window
from kalshi_fills.reconcile.breaks import Break, mismatch, missing_fill, unexpected_row

if TYPE_CHECKING:
    from kalshi_fills.pipeline.fills import Content, Fill, FillKey

_HOUR: Final = timedelta(hours=1)

_HOURS_AT_ONCE: Final = 24
"""Hours that are compared fill by fill at once, so that memory stays that of a day."""

_LAST_OF_SECOND: Final = timedelta(microseconds=999_999)


class Stretch(NamedTuple):
    """Neighbouring hours in which both sides differ."""

    since: datetime
    until: datetime

    @property
    def window(self) -> Window:
        """The stretch as a range of event times."""
        return Window(self.since, self.until)

    def surely_holds(self, fill: Fill) -> bool:
        """Return whether a fill lies in it, also where the table knows its time more finely."""
        moment = fill.content.moment
        latest = moment if moment.microsecond else moment + _LAST_OF_SECOND
        return self.window.holds(moment) and self.window.holds(latest)


def differing_stretches(
    expected: Mapping[datetime, HourDigest], stored: Mapping[datetime, HourDigest], window: Window
) -> Iterator[Stretch]:
    """Yield the ranges of a window in which the table is not what was expected.

    Args:
        expected: count and digest of the exchange's fills, by hour.
        stored: those of the table's.
        window: the range that is compared.
    """
    differing = sorted(
        hour
        for hour in expected.keys() | stored.keys()
        if expected.get(hour, HourDigest()) != stored.get(hour, HourDigest())
    )
    for first, last in _joined_hours(differing):
        since = first if window.start is None else max(first, window.start)
        yield Stretch(since, min(last + _HOUR, window.end))


def by_key(fills: Iterable[Fill]) -> dict[FillKey, Fill]:
    """Return each fill once; of one sent with several contents the one that knows most."""
    found: dict[FillKey, Fill] = {}
    for fill in fills:
        first = found.setdefault(fill.key, fill)
        if first.raw_json != fill.raw_json:
            found[fill.key] = merge(first, fill)
    return found


def compare_fills(
    fills: Mapping[FillKey, Fill], rows: Iterable[Content], current_until: datetime
) -> Iterator[Break]:
    """Compare fills with rows, one by one.

    Args:
        fills: what the exchange has.
        rows: what the table has.
        current_until: the event time up to which the exchange's answers are complete: a row after
            it may be ahead of the exchange, and is no break.

    Yields:
        A break for each difference; a second row of a fill is unexpected. Whether a missing fill
        had to be in the table, the caller knows.
    """
    rows_of_fill: dict[FillKey, list[Content]] = {}
    for row in sorted(rows):  # an engine returns them in any order; a report is always the same
        if row.key in fills:
            rows_of_fill.setdefault(row.key, []).append(row)
        elif row.moment < current_until:
            yield unexpected_row(row)
    for key, fill in fills.items():
        if key in rows_of_fill:
            yield from _compare_rows(fill.content, rows_of_fill[key])
        else:
            yield missing_fill(fill.content)


def _compare_rows(fill: Content, rows: list[Content]) -> Iterator[Break]:
    """Yield how the rows of one fill differ from it; the one that is most like it is the fill."""
    first, *others = sorted(rows, key=lambda row: len(differences(row, fill)))
    yield from _mismatches(fill, first)
    for again in others:
        if fill.fill_id and again.market_ticker == first.market_ticker:
            # The same row, of which it is not defined what it holds.
            yield from _mismatches(fill, again)
        else:
            yield unexpected_row(again)


def _mismatches(fill: Content, row: Content) -> Iterator[Break]:
    return (mismatch(fill, found) for found in differences(row, fill))


def _joined_hours(hours: list[datetime]) -> Iterator[tuple[datetime, datetime]]:
    """Yield the first and the last of neighbouring hours, a day at most."""
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
