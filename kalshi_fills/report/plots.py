"""The four plots of the report page: what each shows, as numbers, as a sentence and as a drawing.

A drawing is SVG to stand inside a page: it names no colour and no font of its own, only the page's
variables, so that it follows the page into the dark; it has no id that another drawing has, and
the same diagnosis always gives the same bytes. Long ranges are drawn in wider steps, so that a bar
never gets too thin to be seen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kalshi_fills.report.drawing import (
    BAD,
    DAY,
    EXCHANGE,
    HOUR,
    INK,
    MINUTE,
    TABLE,
    WIDE,
    Key,
    Plot,
    Size,
    axis_step,
    bin_starts,
    count_axis,
    day_number,
    drawn_twice,
    floor_moment,
    outline,
    rgb,
    time_axis,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kalshi_fills.diagnose.run import Diagnosis, HourOfBoth

_LOG_FROM: Final = 20
"""How many times as high one bar must be as another for the scale to be logarithmic."""

_LEAST_HOURS: Final = 6

_LEAST_MINUTES: Final = 20

_ORDERS: Final = 12

_LETTERS_OF_AN_ORDER: Final = 12

_CENTS: Final = 5


def plots(found: Diagnosis) -> list[Plot]:
    """Make the four plots of a diagnosis."""
    return [
        _exchange_against_table(found),
        _fills_per_minute(found),
        _price_distribution(found),
        _rows_per_order(found),
    ]


def _exchange_against_table(found: Diagnosis) -> Plot:
    plot = Plot("hours", "Exchange against table, per hour", "")
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
    held = sum(hour.table for hour in hours)
    span = f"between {_short(hours[0].hour)} and {_short(hours[-1].hour + HOUR)}"
    if asked:
        sent = sum(hour.exchange or 0 for hour in hours)
        plot.says = f"{_many(sent, 'fill')} of the exchange, {_many(held, 'row')} of the table "
        plot.says += f"{span}."
        if differing:
            worst = max(differing, key=lambda hour: abs(hour.table - (hour.exchange or 0)))
            plot.says += (
                f" {_many(len(differing), 'hour')} of {len(hours):,} with data "
                f"{'differs' if len(differing) == 1 else 'differ'}; the most that of "
                f"{_short(worst.hour)}: exchange {worst.exchange or 0:,}, table {worst.table:,}."
            )
        else:
            plot.says += " Every hour has as many on both sides."
        plot.legend = [Key("exchange", "exchange"), Key("table", "table")]
        if differing:
            plot.legend.append(Key("differs", "the sides differ"))
    else:
        plot.says = f"{_many(held, 'row')} of the table {span}. The exchange was not asked."
        plot.legend = [Key("table", "table")]
    plot.columns = ("from", "exchange", "table") if asked else ("from", "table")
    first, end = hours[0].hour, hours[-1].hour + HOUR
    # An hour or two by themselves are seen among the empty ones that the window has before them.
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
            sent = [one.exchange or 0 for one in drawn]
            axes.bar([start + gap for start in starts], sent, width, align="edge", color=EXCHANGE)
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
        log = any(_far_apart(one.exchange or 0, one.table) for one in drawn) and asked
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
    """Whether any hour of the step differs, though the sums may agree."""


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


class _Minutes(NamedTuple):
    """The minutes of one step of time; a minute without a row counts."""

    start: datetime
    rows: int
    price_0: int
    lowest: int
    highest: int
    mean: float


def _fills_per_minute(found: Diagnosis) -> Plot:
    plot = Plot("minutes", "Fills per minute", "")
    counts: dict[datetime, tuple[int, int]] = {
        row[0]: (int(row[1]), int(row[2])) for row in _answer(found, "volume_per_minute")
    }
    if not counts:
        plot.says = "There is no data: the table has no rows in the window."
        return plot
    first, last = min(counts), max(counts)
    end = last + MINUTE
    rows = sum(count for count, _ in counts.values())
    zeros = sum(zero for _, zero in counts.values())
    busiest = max(counts, key=lambda minute: (counts[minute][0], -minute.timestamp()))
    minutes = (end - first) // MINUTE
    plot.says = (
        f"{_many(rows, 'row')} in {len(counts):,} of the {_many(minutes, 'minute')} between "
        f"{_short(first)} and {_short(end)}; the busiest, {_short(busiest)}, has "
        f"{counts[busiest][0]:,}."
    )
    if zeros:
        plot.says += f" {zeros:,} of the rows have price 0."
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
        # One kind of plot at both sizes, as the legend tells: by minute, or from low to high.
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
        count_axis(axes, peaks, what, log=max(peaks) > _LOG_FROM * usual)
        ended = drawn[-1].start + step
        time_axis(axes, min(drawn[0].start, ended - _LEAST_MINUTES * MINUTE), ended, size)

    drawn_twice(plot, draw)
    return plot


def _by_minutes(counts: dict[datetime, tuple[int, int]], step: timedelta) -> list[_Minutes]:
    first, end = min(counts), max(counts) + MINUTE
    held: dict[datetime, list[tuple[int, int]]] = {}
    for minute, count in counts.items():
        held.setdefault(floor_moment(minute, step), []).append(count)
    found = []
    for start in bin_starts(first, end, step):
        # What lies outside of the data says nothing of how quiet a minute was.
        minutes = (min(start + step, end) - max(start, first)) // MINUTE
        rows = [count for count, _ in held.get(start, [])]
        zeros = sum(zero for _, zero in held.get(start, []))
        lowest = min(rows) if len(rows) == minutes else 0
        total = sum(rows)
        found.append(
            _Minutes(start, total, zeros, lowest, max(rows, default=0), total / max(minutes, 1))
        )
    return found


def _price_distribution(found: Diagnosis) -> Plot:
    plot = Plot("prices", "Price distribution", "")
    answered = [(str(row[0]), int(row[1]), row[2]) for row in _answer(found, "price_distribution")]
    if not answered:
        plot.says = "There is no data: the table has no rows in the window."
        return plot
    below, above = "0 or less", "100 or more"
    rows = sum(count for _, count, _ in answered)
    outside = sum(count for label, count, _ in answered if label in (below, above))
    fullest = max(answered, key=lambda part: part[1])
    plot.says = (
        f"{outside:,} of {_many(rows, 'row')} ({outside / rows:.1%}) lie outside of the possible "
        "prices, at 0 or less or at 100 cents or more."
        if outside
        else f"All of the {_many(rows, 'row')} have a possible price."
    )
    plot.says += f" The most frequent, in cents, is {fullest[0]}: {_many(fullest[1], 'row')}."
    plot.legend = [Key("table", "possible prices")]
    if outside:
        plot.legend.append(Key("bad", "no fill has such a price"))
    plot.columns = ("price in cents", "rows", "percent")
    plot.rows = list(answered)

    def draw(axes: Axes, size: Size) -> None:
        good, bad = {}, {}
        for label, count, _ in answered:
            if label == below:
                bad[-1.5 * _CENTS] = count
            elif label == above:
                bad[100 + 0.5 * _CENTS] = count
            else:
                good[float(label.split(" ")[0])] = count
        width = _CENTS * 0.84
        inset = (_CENTS - width) / 2
        outline(axes, [at + inset for at in good], list(good.values()), width)
        axes.bar([at + inset for at in bad], list(bad.values()), width, align="edge", color=BAD)
        counts = [*good.values(), *bad.values()]
        log = bool(bad) and bool(good) and _far_apart(max(bad.values()), median(good.values()))
        count_axis(axes, counts, "rows by price in cents of their side", log=log)
        every = 10 if size.name == WIDE.name else 25
        inner = list(
            range(
                0 if size.name == WIDE.name else every,
                101 if size.name == WIDE.name else 100,
                every,
            )
        )
        axes.set_xlim(-1.7 * _CENTS, 100 + 1.7 * _CENTS)
        axes.set_xticks(
            [-_CENTS, *inner, 100 + _CENTS],
            ["≤ 0", *(str(cents) if 0 < cents < 100 else "" for cents in inner), "≥ 100"],
        )

    drawn_twice(plot, draw)
    return plot


def _rows_per_order(found: Diagnosis) -> Plot:
    plot = Plot("orders", "Rows per order", "")
    answered = [
        (str(row[0]), str(row[1]), int(row[2]), int(row[3]))
        for row in _answer(found, "rows_per_order")
    ]
    if not answered:
        plot.says = "There is no data: the table has no rows in the window."
        return plot
    shown = answered[:_ORDERS]
    order, _, most, ids = shown[0]
    plot.says = (
        f"The order with the most rows, {order or '(no id)'}, has {most:,}, with "
        f"{_many(ids, 'distinct fill id')}."
    )
    if len(shown) > 1:
        least = _many(shown[-1][2], "row")
        plot.says += f" Shown are the {len(shown)} largest; the last of them has {least}."
    plot.legend = [Key("table", "rows")]
    if any(fills for *_, fills in shown):
        plot.legend.append(Key("dot", "distinct fill ids"))
    plot.columns = ("order", "market", "rows", "fill ids")
    plot.rows = list(shown)

    def draw(axes: Axes, size: Size) -> None:
        places = range(len(shown))
        counts = [rows for _, _, rows, _ in shown]
        axes.barh(
            places,
            counts,
            0.68,
            facecolor=(*rgb(TABLE), 0.3),
            edgecolor=TABLE,
            linewidth=1,
        )
        with_ids = [(fills, place) for place, (*_, fills) in zip(places, shown, strict=True)]
        axes.plot(
            [fills for fills, _ in with_ids if fills],
            [place for fills, place in with_ids if fills],
            "o",
            color=INK,
            markersize=5,
            markeredgewidth=0,
        )
        for place, count in zip(places, counts, strict=True):
            axes.annotate(
                f"{count:,}", (count, place), (9, 0), textcoords="offset points", va="center"
            ).set_in_layout(False)
        log = _far_apart(counts[0], counts[-1])
        count_axis(axes, counts, "rows by order", log=log, across=True)
        if not log:
            axes.set_xlim(0, counts[0] * (1.12 if size.name == WIDE.name else 1.35))
        axes.set_yticks(list(places), [_order_label(name) for name, *_ in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.spines["bottom"].set_visible(False)
        axes.spines["left"].set_visible(True)

    drawn_twice(plot, draw, height=lambda size: 56 + 24 * len(shown))
    return plot


def _answer(found: Diagnosis, name: str) -> Sequence[Any]:
    return next((query.rows for query in found.queries if query.name == name), [])


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _short(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _length(step: timedelta) -> str:
    for unit, name in ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute")):
        if step >= unit:
            many = step // unit
            return name if many == 1 else f"{many} {name}s"
    raise AssertionError(step)


def _order_label(order_id: str) -> str:
    """Shorten an order's id to letters that any font has."""
    plain = re.sub(r"[^A-Za-z0-9_.:-]", "?", order_id)
    if len(plain) > _LETTERS_OF_AN_ORDER:
        return plain[: _LETTERS_OF_AN_ORDER - 1] + "…"
    return plain or "(no id)"


def _far_apart(one: float, other: float) -> bool:
    return min(one, other) > 0 and max(one, other) > _LOG_FROM * min(one, other)
