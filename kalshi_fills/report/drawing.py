"""How a plot is drawn: axes, bars, and SVG that is a part of the page.

A drawing names no colour and no font of its own, only the page's variables, so that it turns dark
with the page. No two drawings share an id, and the same numbers always give the same bytes.
"""

from __future__ import annotations

import io
import logging
import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

MINUTE: Final = timedelta(minutes=1)

HOUR: Final = timedelta(hours=1)

DAY: Final = timedelta(days=1)

_STEPS: Final = (
    *(minutes * MINUTE for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * HOUR for hours in (1, 2, 3, 4, 6, 12)),
    *(days * DAY for days in (1, 2, 4, 7, 14, 28, 91, 364)),
)

# Each stands for a variable of the page until the drawing is done.
INK, _MUTED, _RULE = "#0a0001", "#0a0002", "#0a0003"

EXCHANGE, TABLE, BAD = "#0a0004", "#0a0005", "#0a0006"

_VARIABLES: Final = {
    INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _RULE: "var(--rule)",
    EXCHANGE: "var(--exchange)",
    TABLE: "var(--table)",
    BAD: "var(--fail)",
}


LOG_FROM: Final = 20
"""How many times as high one bar must be as another for the scale to be logarithmic."""


class Key(NamedTuple):
    """One line of a plot's legend."""

    mark: str
    """How it is drawn: exchange, table, bad, line, dot or differs."""
    label: str


@dataclass(slots=True)
class Plot:
    """One plot, which can be read without being seen."""

    name: str
    title: str
    says: str
    """What it shows, in a sentence or two; without data, that there is none."""
    legend: list[Key] = field(default_factory=list)
    columns: Sequence[str] = ()
    rows: list[Sequence[object]] = field(default_factory=list)
    wide: str = ""
    """The drawing for a page, empty where there is no data."""
    narrow: str = ""
    """The drawing for the width of a telephone."""


class Size(NamedTuple):
    """One size a plot is drawn in."""

    name: str
    width: int
    height: int
    groups: int
    """Groups of bars there is room for."""
    bars: int
    """Single bars there is room for."""


WIDE: Final = Size("wide", 1040, 280, 96, 160)

_NARROW: Final = Size("narrow", 320, 240, 32, 80)


def floor_moment(moment: datetime, step: timedelta) -> datetime:
    """Return the start of the step a moment lies in."""
    return moment - (moment - _EPOCH) % step


def bin_starts(first: datetime, end: datetime, step: timedelta) -> list[datetime]:
    """Return where the bins of a time axis start."""
    start = floor_moment(first, step)
    return [start + number * step for number in range(_pieces(start, end, step))]


def _pieces(start: datetime, end: datetime, step: timedelta) -> int:
    return -((start - end) // step)


def axis_step(first: datetime, end: datetime, least: timedelta, at_most: int) -> timedelta:
    """Return the shortest step that cuts a range into no more than so many pieces."""
    for step in _STEPS:
        if step >= least and _pieces(floor_moment(first, step), end, step) <= at_most:
            return step
    return _STEPS[-1]


def day_number(moment: datetime) -> float:
    """Return a time in matplotlib's own unit."""
    return (moment - _EPOCH) / DAY


def rgb(colour: str) -> tuple[float, float, float]:
    """Return a colour as shares of red, green and blue."""
    red, green, blue = bytes.fromhex(colour[1:])
    return red / 255, green / 255, blue / 255


def outline(
    axes: Axes,
    at: Sequence[float],
    heights: Sequence[float],
    width: float,
    bottom: Sequence[float] | None = None,
) -> None:
    """Draw the table's bars: pale with an outline, so that they differ in more than colour."""
    # A bar of no height would leave its outline on the axis.
    drawn = [
        bar for bar in zip(at, heights, bottom or [0.0] * len(at), strict=True) if bar[1] or bar[2]
    ]
    axes.bar(
        [place for place, _, _ in drawn],
        [height for _, height, _ in drawn],
        width,
        [base for _, _, base in drawn],
        align="edge",
        facecolor=(*rgb(TABLE), 0.3),
        edgecolor=TABLE,
        linewidth=0.8,
    )


def count_axis(
    axes: Axes, counts: Iterable[float], title: str, *, log: bool, across: bool = False
) -> None:
    """Scale the axis that counts, from 0 on, and write above the plot what it counts."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    highest = max([1.0, *counts])
    axis, limit = (axes.xaxis, axes.set_xlim) if across else (axes.yaxis, axes.set_ylim)
    if log:
        title += ", logarithmic"
        (axes.set_xscale if across else axes.set_yscale)("symlog", linthresh=1, linscale=0.5)
        powers = math.ceil(math.log10(highest))
        every = max(1, math.ceil(powers / 5))
        axis.set_major_locator(
            FixedLocator([0.0, *(10.0**power for power in range(0, powers + 1, every))])
        )
        axis.set_minor_locator(NullLocator())
        limit(0, highest * (3 if across else 1.6))
    else:
        axis.set_major_locator(MaxNLocator(4, integer=True))
        limit(0, highest * 1.12)
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.grid(visible=True, color=_RULE, linewidth=0.8)
    written = axes.text(0, 1, title, transform=axes.figure.transFigure, va="top", color=_MUTED)
    written.set_in_layout(False)


def money_axis(axes: Axes, dollars: Iterable[float], title: str) -> None:
    """Scale the axis of dollars, which may be below 0, and write above the plot what it counts."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    values = [0.0, *dollars]
    lowest, highest = min(values), max(values)
    margin = 0.12 * (highest - lowest or 1.0)
    axes.set_ylim(lowest - margin * (lowest < 0), highest + margin)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axes.yaxis.grid(visible=True, color=_RULE, linewidth=0.8)
    axes.axhline(0, color=_MUTED, linewidth=0.8)
    written = axes.text(0, 1, title, transform=axes.figure.transFigure, va="top", color=_MUTED)
    written.set_in_layout(False)


def time_axis(axes: Axes, first: datetime, end: datetime, size: Size) -> None:
    """Scale the axis of time, with months and days in full where it is one of days."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    wide = size.name == WIDE.name
    few, many = (5, 10) if wide else (2, 4)
    locator = AutoDateLocator(UTC, few, many)  # type: ignore[no-untyped-call]
    shown = ConciseDateFormatter(  # type: ignore[no-untyped-call]
        locator,
        UTC,
        formats=["%Y", "%b", "%b %d", "%H:%M", "%H:%M", "%S.%f"],
        zero_formats=["", "%Y", "%b %d", "%b %d", "%H:%M", "%H:%M"],
        show_offset=False,
    )
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(shown)
    axes.set_xlim(day_number(first), day_number(end))
    axes.set_xlabel("UTC", loc="right", labelpad=2, color=_MUTED)


def drawn_twice(
    plot: Plot, draw: Callable[[Axes, Size], None], height: Callable[[Size], int] | None = None
) -> None:
    """Draw a plot in each of its sizes."""
    plot.wide, plot.narrow = (
        _svg(
            plot.name,
            size._replace(height=height(size) if height else size.height),
            draw,
        )
        for size in (WIDE, _NARROW)
    )


def _svg(plot: str, size: Size, draw: Callable[[Axes, Size], None]) -> str:
    # A diagnosis neither warns that matplotlib cannot keep its cache of fonts, nor fails because
    # the environment names a backend that is not there.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    os.environ["MPLBACKEND"] = "svg"
    import matplotlib
    from matplotlib.figure import Figure

    name = f"{plot}-{size.name}"
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever a matplotlibrc in the working folder says
        matplotlib.rcParams.update(
            {
                "svg.fonttype": "none",
                "svg.hashsalt": name,
                "text.parse_math": False,
                "font.size": 12,
                "axes.axisbelow": True,
                "axes.edgecolor": _MUTED,
                "axes.spines.left": False,
                "axes.spines.right": False,
                "axes.spines.top": False,
                "xtick.color": _MUTED,
                "ytick.color": _MUTED,
                "ytick.major.size": 0,
                "axes.facecolor": "none",
                "text.color": INK,
            }
        )
        figure = Figure((size.width / 72, size.height / 72), facecolor="none", layout="constrained")
        figure.get_layout_engine().set(rect=(0, 0, 1, 1 - 20 / size.height))  # type: ignore[union-attr, call-arg]
        draw(figure.add_subplot(), size)
        written = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(written, format="svg", metadata=nothing)
    return _inline(written.getvalue(), name, plot)


def _inline(svg: str, name: str, plot: str) -> str:
    """Return a drawing as a part of the page: with its variables, its font, and ids of its own.

    Its label is the title and the sentence that the page has under these ids.
    """
    svg = svg[svg.index("<svg") :]
    body = svg[svg.index(">") + 1 :]
    view = re.search(r'viewBox="([\d. ]+)"', svg)
    assert view is not None
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r"font-family: [^;\"]+", "font-family: inherit", body)
    body = body.replace("xlink:href", "href")
    used = set(re.findall(r'(?:url\(|href=")#(\w+)', body))
    body = re.sub(r' id="([^"]*)"', lambda one: one[0] if one[1] in used else "", body)
    body = re.sub(r'( id="|url\(#|href="#)(\w+)', rf"\g<1>{name}-\2", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, variable)
    labels = f'aria-labelledby="{plot}-title" aria-describedby="{plot}-says"'
    return f'<svg class="{name.rpartition("-")[2]}" viewBox="{view[1]}" role="img" {labels}>{body}'


def far_apart(one: float, other: float) -> bool:
    """Return whether two counts, neither of them 0, need a logarithmic scale."""
    return min(one, other) > 0 and max(one, other) > LOG_FROM * min(one, other)
