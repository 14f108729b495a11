"""The plots of rows: by price, and by order."""

from __future__ import annotations

import re
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

from kalshi_fills.report.answers import answer, select_from
from kalshi_fills.report.drawing import (
    BAD,
    INK,
    TABLE,
    WIDE,
    Key,
    Plot,
    Size,
    count_axis,
    drawn_twice,
    far_apart,
    outline,
    rgb,
)
from kalshi_fills.words import many, one_or_more

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kalshi_fills.diagnose.run import Diagnosis

_ORDERS: Final = 12

_LETTERS_OF_AN_ORDER: Final = 12

_CENTS: Final = 5


class _Prices(NamedTuple):
    """A row of the answer of `price_distribution`."""

    price_in_cents: str
    rows: int
    percent: float


def price_distribution(found: Diagnosis) -> Plot:
    """Return the plot of rows by price, the impossible prices among them."""
    plot = Plot("prices", "Price distribution", "")
    prices = select_from(answer(found.queries, "price_distribution"), _Prices)
    if not prices:
        plot.says = "There is no data: the table has no rows in the window."
        return plot
    below, above = "0 or less", "100 or more"
    rows = sum(part.rows for part in prices)
    outside = sum(part.rows for part in prices if part.price_in_cents in (below, above))
    fullest = max(prices, key=lambda part: part.rows)
    plot.says = (
        f"{outside:,} of {many(rows, 'row')} ({outside / rows:.1%}) "
        f"{one_or_more(outside, 'has', 'have')} an impossible price, "
        "0 or less, or 100 cents or more."
        if outside
        else one_or_more(rows, "The one row has", f"All of the {rows:,} rows have")
        + " a possible price."
    )
    plot.says += (
        f" The most frequent, in cents, is {fullest.price_in_cents}: {many(fullest.rows, 'row')}."
    )
    plot.legend = [Key("table", "possible prices")]
    if outside:
        plot.legend.append(Key("bad", "no fill has such a price"))
    plot.columns = ("price in cents", "rows", "percent")
    plot.rows = list(prices)

    def draw(axes: Axes, size: Size) -> None:
        good, bad = {}, {}
        for part in prices:
            if part.price_in_cents == below:
                bad[-1.5 * _CENTS] = part.rows
            elif part.price_in_cents == above:
                bad[100 + 0.5 * _CENTS] = part.rows
            else:
                good[float(part.price_in_cents.partition(" ")[0])] = part.rows
        width = _CENTS * 0.84
        inset = (_CENTS - width) / 2
        outline(axes, [at + inset for at in good], list(good.values()), width)
        axes.bar([at + inset for at in bad], list(bad.values()), width, align="edge", color=BAD)
        counts = [*good.values(), *bad.values()]
        log = bool(bad) and bool(good) and far_apart(max(bad.values()), median(good.values()))
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


class _Order(NamedTuple):
    """A row of the answer of `rows_per_order`."""

    order_id: str
    market_ticker: str
    rows: int
    fill_ids: int


def rows_per_order(found: Diagnosis) -> Plot:
    """Return the plot of the orders with the most rows."""
    plot = Plot("orders", "Rows per order", "")
    orders = select_from(answer(found.queries, "rows_per_order"), _Order)
    if not orders:
        plot.says = "There is no data: the table has no rows in the window."
        return plot
    shown = orders[:_ORDERS]
    largest, smallest = shown[0], shown[-1]
    plot.says = (
        f"The order with the most rows, {largest.order_id or '(no id)'}, has {largest.rows:,}, "
        f"with {many(largest.fill_ids, 'distinct fill id')}."
    )
    if len(shown) > 1:
        least = many(smallest.rows, "row")
        plot.says += f" Shown are the {len(shown)} largest; the smallest of them has {least}."
    plot.legend = [Key("table", "rows")]
    if any(order.fill_ids for order in shown):
        plot.legend.append(Key("dot", "distinct fill ids"))
    plot.columns = ("order", "market", "rows", "fill ids")
    plot.rows = list(shown)

    def draw(axes: Axes, size: Size) -> None:
        places = range(len(shown))
        counts = [order.rows for order in shown]
        axes.barh(
            places,
            counts,
            0.68,
            facecolor=(*rgb(TABLE), 0.3),
            edgecolor=TABLE,
            linewidth=1,
        )
        with_ids = [place for place in places if shown[place].fill_ids]
        axes.plot(
            [shown[place].fill_ids for place in with_ids],
            with_ids,
            "o",
            color=INK,
            markersize=5,
            markeredgewidth=0,
        )
        for place, count in zip(places, counts, strict=True):
            axes.annotate(
                f"{count:,}", (count, place), (9, 0), textcoords="offset points", va="center"
            ).set_in_layout(False)
        log = far_apart(largest.rows, smallest.rows)
        count_axis(axes, counts, "rows by order", log=log, across=True)
        if not log:
            axes.set_xlim(0, counts[0] * (1.12 if size.name == WIDE.name else 1.35))
        axes.set_yticks(list(places), [_order_label(order.order_id) for order in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.spines["bottom"].set_visible(False)
        axes.spines["left"].set_visible(True)

    drawn_twice(plot, draw, height=lambda size: 56 + 24 * len(shown))
    return plot


def _order_label(order_id: str) -> str:
    """Return an order's id cut to a label of letters that any font has."""
    plain = re.sub(r"[^A-Za-z0-9_.:-]", "?", order_id)
    if len(plain) > _LETTERS_OF_AN_ORDER:
        return plain[: _LETTERS_OF_AN_ORDER - 1] + "…"
    return plain or "(no id)"
