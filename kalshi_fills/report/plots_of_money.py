"""The plot of cash and profit, day by day."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from kalshi_fills.report.drawing import (
    BAD,
    DAY,
    INK,
    Key,
    Plot,
    Size,
    day_number,
    drawn_twice,
    money_axis,
    outline,
    time_axis,
)
from kalshi_fills.words import many, one_or_more

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kalshi_fills.diagnose.run import Diagnosis

_DAYS: Final = 60

_LEAST_DAYS: Final = 7


def cash_and_profit(found: Diagnosis) -> Plot:
    """Return the plot of what fills and settlements brought, for the last days that had any."""
    plot = Plot("money", "Cash and profit, per day", "")
    days = found.days[-_DAYS:]
    settled = sum(one.settled_markets for one in days)
    contracts = _sum(one.contracts for one in days)
    plot.says = (
        f"{contracts:,.2f} contracts in {many(len(days), 'day')} with any; "
        f"{many(settled, 'market')} {one_or_more(settled, 'was', 'were')} settled"
    )
    unknown = sum(one.pnl is None for one in days)
    if settled:
        plot.says += f" and earned {_sum(one.pnl or 0 for one in days):,.2f} dollars after fees"
    plot.says += "."
    made = [(one.maker_share, one.contracts) for one in days if one.maker_share is not None]
    if made:
        share = sum(part * count for part, count in made) / _sum(count for _, count in made)
        plot.says += f" {share:.1%} of the contracts were traded as maker."
    if unknown:
        plot.says += f" The profit of {many(unknown, 'day')} is not known, for want of a fee."
    plot.legend = [
        Key("table", "cash, settlements included"),
        Key("dot", "profit of settled markets"),
    ]
    plot.columns = ("day", "contracts", "maker share", "cash", "settled markets", "profit")
    plot.rows = [
        (
            f"{one.day:%Y-%m-%d}",
            one.contracts,
            "-" if one.maker_share is None else f"{one.maker_share:.1%}",
            _dollars(one.cash),
            one.settled_markets,
            _dollars(one.pnl),
        )
        for one in days
    ]

    def draw(axes: Axes, size: Size) -> None:
        starts = [datetime.combine(one.day, time(), UTC) for one in days]
        width = 0.8
        at = [day_number(start) + (1 - width) / 2 for start in starts]
        cash = [float(one.cash or 0) for one in days]
        outline(axes, at, cash, width)
        earned = [
            (day_number(start) + 0.5, float(one.pnl))
            for start, one in zip(starts, days, strict=True)
            if one.pnl is not None and one.settled_markets
        ]
        for colour, points in (
            (INK, [point for point in earned if point[1] >= 0]),
            (BAD, [point for point in earned if point[1] < 0]),
        ):
            axes.plot(
                [place for place, _ in points],
                [dollars for _, dollars in points],
                "o",
                color=colour,
                markersize=5,
                markeredgewidth=0,
            )
        money_axis(axes, [*cash, *(dollars for _, dollars in earned)], "dollars per day")
        end = starts[-1] + DAY
        time_axis(axes, min(starts[0], end - _LEAST_DAYS * DAY), end, size)

    drawn_twice(plot, draw)
    return plot


def _sum(parts: Iterable[Decimal | int]) -> Decimal:
    return sum((Decimal(part) for part in parts), Decimal(0))


def _dollars(value: Decimal | None) -> str:
    return "-" if value is None else f"{value:,.2f}"
