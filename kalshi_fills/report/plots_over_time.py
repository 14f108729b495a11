"""The plots over time: fills on both sides by hour, and rows by minute.

Long ranges are drawn in wider steps, so that a bar never gets too thin to be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

from kalshi_fills.report.answers import answer, select_from
from kalshi_fills.report.drawing import (
    BAD,
    DAY,
    EXCHANGE,
    HOUR,
    INK,
    LOG_FROM,
    MINUTE,
    WIDE,
    Key,
    Plot,
    Size,
    axis_step,
    bin_starts,
    count_axis,
    day_number,
    drawn_twice,
    far_apart,
    floor_moment,
    outline,
    time_axis,
)
from kalshi_fills.words import many, one_or_more

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kalshi_fills.diagnose.run import Diagnosis, HourOfBoth

_LEAST_HOURS: Final = 6

_LEAST_MINUTES: Final = 20


def exchange_against_table(found: Diagnosis) -> Plot:
    """Return the plot of fills of the exchange against rows of the table, hour by hour."""
    plot = Plot("hours", "Exchange against table, per hour (UTC)", "")
    hours = found.hours
    if not hours:
        plot.says = "There is no data: " + (
            "the table has no rows in the window, and the exchange was not asked."
            if found.offline
            else "neither the exchange nor the table has a fill in the window."
        )
        return plot
    asked = any(hour.exchange is not None for hour in hours)
    differing = [hour for hour in hours if _differs(hour)]
    in_table = sum(hour.table for hour in hours)
    span = f"between {_short(hours[0].hour)} and {_short(hours[-1].hour + HOUR)}"
    if asked:
        at_exchange = sum(hour.exchange or 0 for hour in hours)
        plot.says = (
            f"{many(at_exchange, 'fill')} of the exchange, {many(in_table, 'row')} of the table "
        )
        plot.says += f"{span}."
        if differing:
            worst = max(differing, key=lambda hour: abs(hour.table - (hour.exchange or 0)))
            plot.says += (
                f" {many(len(differing), 'hour')} of {len(hours):,} with data "
                f"{one_or_more(len(differing), 'differs', 'differ')}, most of all "
                f"{_short(worst.hour)}: exchange {worst.exchange or 0:,}, table {worst.table:,}."
            )
        else:
            plot.says += " Every hour has the same number on both sides."
        plot.legend = [Key("exchange", "exchange"), Key("table", "table")]
        if differing:
            plot.legend.append(Key("differs", "the sides differ"))
    else:
        plot.says = f"{many(in_table, 'row')} of the table {span}. The exchange was not asked."
        plot.legend = [Key("table", "table")]
    plot.columns = ("from", "exchange", "table") if asked else ("from", "table")
    first, end = hours[0].hour, hours[-1].hour + HOUR
    # A single hour is shown among the empty ones of the window before it.
    before = end - _LEAST_HOURS * HOUR
    start = found.window.start
    first = min(first, before if start is None else max(before, floor_moment(start, HOUR)))
    bins = _both_sides(hours, first, axis_step(first, end, HOUR, WIDE.groups))
    plot.rows = [
        (one.start, one.exchange, one.table) if asked else (one.start, one.table)
        for one in bins
        if one.exchange or one.table
    ]

    def draw(axes: Axes, size: Size) -> None:
        step = axis_step(first, end, HOUR, size.groups)
        drawn = _both_sides(hours, first, step)
        days = step / DAY
        starts = [day_number(one.start) for one in drawn]
        gap = 0.1 * days
        width = (days - 2 * gap) / (2 if asked else 1)
        table_at = [start + gap + (width if asked else 0) for start in starts]
        if asked:
            heights = [one.exchange or 0 for one in drawn]
            axes.bar(
                [start + gap for start in starts], heights, width, align="edge", color=EXCHANGE
            )
        outline(axes, table_at, [one.table for one in drawn], width)
        differ = [
            start + days / 2 for start, one in zip(starts, drawn, strict=True) if one.differing
        ]
        if differ:
            (marks,) = axes.plot(
                differ,
                [1.03] * len(differ),
                "v",
                color=BAD,
                markersize=8,
                markeredgewidth=0,
                clip_on=False,
                transform=axes.get_xaxis_transform(),
            )
            marks.set_in_layout(False)
        counts = [count for one in drawn for count in (one.exchange or 0, one.table)]
        what = "fills and rows" if asked else "rows"
        log = any(far_apart(one.exchange or 0, one.table) for one in drawn) and asked
        count_axis(axes, counts, f"{what} per {_length(step)}", log=log)
        time_axis(axes, drawn[0].start, drawn[-1].start + step, size)

    drawn_twice(plot, draw)
    return plot


class _Both(NamedTuple):
    """Both sides over one step of time."""

    start: datetime
    exchange: int | None
    table: int
    differing: bool
    """True where any hour of the step differs, though the sums may agree."""


def _both_sides(hours: Sequence[HourOfBoth], first: datetime, step: timedelta) -> list[_Both]:
    bins: dict[datetime, _Both] = {}
    for hour in hours:
        start = floor_moment(hour.hour, step)
        sofar = bins.get(start, _Both(start, None, 0, False))
        exchange = (
            sofar.exchange if hour.exchange is None else (sofar.exchange or 0) + hour.exchange
        )
        differs = sofar.differing or _differs(hour)
        bins[start] = _Both(start, exchange, sofar.table + hour.table, differs)
    asked = any(one.exchange is not None for one in bins.values())
    starts = bin_starts(first, hours[-1].hour + HOUR, step)
    return [bins.get(start, _Both(start, 0 if asked else None, 0, False)) for start in starts]


def _differs(hour: HourOfBoth) -> bool:
    return hour.exchange is not None and hour.exchange != hour.table


class _Minute(NamedTuple):
    """A row of the answer of `volume_per_minute`."""

    minute: datetime
    rows: int
    price_0: int


class _Minutes(NamedTuple):
    """The minutes of one step of time; a minute without a row counts."""

    start: datetime
    rows: int
    price_0: int
    lowest: int
    highest: int
    mean: float


def fills_per_minute(found: Diagnosis) -> Plot:
    """Return the plot of rows per minute, in which a clock shows."""
    plot = Plot("minutes", "Fills per minute (UTC)", "")
    counted = select_from(answer(found.queries, "volume_per_minute"), _Minute)
    counts = {one.minute: one for one in counted}
    if not counts:
        plot.says = "There is no data: the table has no rows in the window."
        return plot
    first, last = min(counts), max(counts)
    end = last + MINUTE
    rows = sum(one.rows for one in counts.values())
    zeros = sum(one.price_0 for one in counts.values())
    busiest = max(counts.values(), key=lambda one: (one.rows, -one.minute.timestamp()))
    minutes = (end - first) // MINUTE
    plot.says = (
        f"{many(rows, 'row')} in {len(counts):,} of {many(minutes, 'minute')} between "
        f"{_short(first)} and {_short(end)}; the busiest, "
        f"{_short(busiest.minute)}, has {busiest.rows:,}."
    )
    if zeros:
        plot.says += f" {zeros:,} of the rows {one_or_more(zeros, 'has', 'have')} price 0."
    least = axis_step(first, end, MINUTE, WIDE.bars)
    by_minute = least == MINUTE
    bins = _by_minutes(counts, least)
    if by_minute:
        plot.columns = ("minute", "rows", "price 0")
        plot.rows = [(one.start, one.rows, one.price_0) for one in bins if one.rows]
        plot.legend = [Key("table", "rows with a price")]
        if zeros:
            plot.legend.append(Key("bad", "rows at price 0"))
    else:
        plot.columns = ("from", "rows", "price 0", "quietest minute", "mean", "busiest minute")
        plot.rows = [
            (one.start, one.rows, one.price_0, one.lowest, round(one.mean, 1), one.highest)
            for one in bins
            if one.rows
        ]
        plot.legend = [
            Key("table", "from the quietest to the busiest minute"),
            Key("line", "mean"),
        ]

    def draw(axes: Axes, size: Size) -> None:
        # Both sizes are of one kind, as the legend has it: by minute, or from low to high.
        step = least if by_minute else axis_step(first, end, MINUTE, size.bars)
        drawn = _by_minutes(counts, step)
        days = step / DAY
        starts = [day_number(one.start) for one in drawn]
        if by_minute:
            zero = [one.price_0 for one in drawn]
            width = days * 0.84
            at = [start + (days - width) / 2 for start in starts]
            if any(zero):
                axes.bar(at, zero, width, align="edge", color=BAD)
            outline(axes, at, [one.rows - one.price_0 for one in drawn], width, bottom=zero)
        else:
            heights = [one.highest - one.lowest for one in drawn]
            outline(axes, starts, heights, days, bottom=[one.lowest for one in drawn])
            means = [one.mean for one in drawn]
            ends = [start + days for start in starts]
            axes.hlines(means, starts, ends, colors=INK, linewidth=1.4)
        peaks = [one.highest for one in drawn]
        usual = median([peak for peak in peaks if peak])
        what = "rows per minute" if by_minute else f"rows per minute, by {_length(step)}"
        count_axis(axes, peaks, what, log=max(peaks) > LOG_FROM * usual)
        ended = drawn[-1].start + step
        time_axis(axes, min(drawn[0].start, ended - _LEAST_MINUTES * MINUTE), ended, size)

    drawn_twice(plot, draw)
    return plot


def _by_minutes(counts: dict[datetime, _Minute], step: timedelta) -> list[_Minutes]:
    first, end = min(counts), max(counts) + MINUTE
    by_step: dict[datetime, list[_Minute]] = {}
    for one in counts.values():
        by_step.setdefault(floor_moment(one.minute, step), []).append(one)
    found = []
    for start in bin_starts(first, end, step):
        # Minutes before and after the data are not quiet, but unknown.
        minutes = (min(start + step, end) - max(start, first)) // MINUTE
        rows = [one.rows for one in by_step.get(start, [])]
        zeros = sum(one.price_0 for one in by_step.get(start, []))
        lowest = min(rows) if len(rows) == minutes else 0
        total = sum(rows)
        found.append(
            _Minutes(start, total, zeros, lowest, max(rows, default=0), total / max(minutes, 1))
        )
    return found


def _short(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _length(step: timedelta) -> str:
    for unit, name in ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute")):
        if step >= unit:
            return name if step < 2 * unit else many(step // unit, name)
    raise AssertionError(step)
