"""The page's plots."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from support.pages import HOUR, NOW, answers, diagnosis, page_of, query

from kalshi_fills.diagnose.run import HourOfBoth
from kalshi_fills.diagnose.trading import TradingDay
from kalshi_fills.pipeline.window import Window
from kalshi_fills.report.plots import plots


def hours_of(count: int, exchange: int | None = 3, table: int = 3) -> list[HourOfBoth]:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return [HourOfBoth(start + number * HOUR, exchange, table) for number in range(count)]


def test_four_plots_can_be_read_without_being_seen() -> None:
    page = page_of(diagnosis())

    figures = list(page.all("figure"))
    assert len(figures) == 4
    for figure in figures:
        title, says = figure.one("h3"), figure.one("p")
        drawings = list(figure.all("svg"))
        assert [drawing.attributes["class"] for drawing in drawings] == ["wide", "narrow"]
        for drawing in drawings:
            assert drawing.attributes["role"] == "img"
            assert drawing.attributes["aria-labelledby"] == title.attributes["id"]
            assert drawing.attributes["aria-describedby"] == says.attributes["id"]
        assert len(says.words) > 40
        assert len(list(figure.one("details").one("tbody").all("tr"))) >= 1


def test_the_plots_say_what_they_show() -> None:
    hours, minutes, prices, orders = (plot.says for plot in plots(diagnosis()))

    assert "5 fills of the exchange, 4,774 rows of the table" in hours
    assert "exchange 5, table 4,774" in hours
    assert "3 rows in 1 of 1 minute between 2026-11-02 12:30 and 2026-11-02 12:31" in minutes
    assert "1 of 4 rows (25.0%) has an impossible price" in prices
    assert "order-1, has 900, with 2 distinct fill ids" in orders


def test_cash_and_profit_are_a_plot_of_their_own_where_they_were_added_up() -> None:
    days = [
        TradingDay(
            date(2026, 11, 1), Decimal(14), Decimal("0.25"), Decimal("-2.52"), 0, Decimal(0)
        ),
        TradingDay(date(2026, 11, 2), Decimal(6), Decimal(1), None, 2, Decimal("-3.481234")),
        TradingDay(date(2026, 11, 9), Decimal(0), None, Decimal(6), 1, None),
    ]

    money = plots(diagnosis(days=days))[-1]

    assert money.name == "money"
    assert "20.00 contracts in 3 days" in money.says
    assert "3 markets were settled and earned -3.48 dollars after fees" in money.says
    assert "47.5% of the contracts" in money.says
    assert "1 day is not known" in money.says
    assert money.rows[1] == ("2026-11-02", Decimal(6), "100.0%", "-", 2, "-3.48")
    assert money.wide
    assert money.narrow
    assert "var(--fail)" in money.wide  # a loss is not told by its place alone
    assert "money" not in [plot.name for plot in plots(diagnosis())]
    assert "Cash and profit, per day" in page_of(diagnosis(days=days)).words


def test_an_axis_of_time_says_utc_and_names_its_months() -> None:
    days = [TradingDay(date(2026, 1, day), Decimal(1), None, None, 0, None) for day in range(1, 21)]
    start = datetime(2026, 1, 1, tzinfo=UTC)
    minutes = {start + number * 10 * HOUR: 1 for number in range(48)}
    for found in (
        diagnosis(days=days, hours=hours_of(480), queries=answers(minutes)),
        diagnosis(days=days[:1], hours=hours_of(2)),
    ):
        of_time = [plot for plot in plots(found) if plot.name in ("hours", "minutes", "money")]
        assert len(of_time) == 3
        for plot in of_time:
            for drawing in (plot.wide, plot.narrow):
                assert drawing.count(">UTC</text>") == 1, plot.name
                assert ">Jan " in drawing or re.search(r">\d\d:\d\d</text>", drawing), plot.name
        if len(found.days) > 1:
            assert all(">Jan " in plot.wide and ">Jan " in plot.narrow for plot in of_time)


def test_drawings_follow_the_page_into_the_dark() -> None:
    for plot in plots(diagnosis()):
        for drawing in (plot.wide, plot.narrow):
            assert not re.search(r"#[0-9a-fA-F]{3}", drawing)
            assert "font-family: inherit" in drawing
            assert "DejaVu" not in drawing
            assert "var(--ink)" in drawing or "var(--muted)" in drawing


def _contrast(one: str, other: str) -> float:
    def light(colour: str) -> float:
        digits = colour.removeprefix("#")
        digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
        parts = [part / 255 for part in bytes.fromhex(digits)]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_colour_stands_out_from_the_paper(scheme: int) -> None:
    """Text at 4.5 to 1 as WCAG asks, on plain paper and on the box of the next command."""
    style = page_of(diagnosis()).one("style").text
    colours = dict(
        re.findall(r"--(\w+): (#\w+)", re.findall(r":root \{(.*?)\}", style, re.S)[scheme])
    )
    for name in ("ink", "muted", "link", "pass", "warn", "fail", "skip", "exchange", "table"):
        assert _contrast(colours[name], colours["paper"]) >= 4.5, name
    for name in ("ink", "link"):
        assert _contrast(colours[name], colours["raised"]) >= 4.5, name


def test_the_scale_is_logarithmic_where_one_side_dwarfs_the_other() -> None:
    even = plots(diagnosis(hours=hours_of(24)))[0]
    uneven = plots(diagnosis(hours=hours_of(24, exchange=5, table=5000)))[0]

    assert "logarithmic" not in even.wide + even.narrow
    assert "logarithmic" in uneven.wide
    assert "logarithmic" in uneven.narrow


@pytest.mark.sampled(3)
@pytest.mark.parametrize("count", [1, 2, 24, 2_000, 50_000])
def test_any_number_of_hours_is_a_drawable_number_of_bars_that_add_up(count: int) -> None:
    found = diagnosis(hours=hours_of(count, table=4), window=Window(None, NOW))

    plot = plots(found)[0]

    assert 1 <= len(plot.rows) <= 96
    assert sum(row[1] for row in plot.rows) == 3 * count
    assert sum(row[2] for row in plot.rows) == 4 * count
    for drawing, at_most in ((plot.wide, 2 * 96), (plot.narrow, 2 * 32)):
        bars = drawing.count("fill: var(--exchange)") + drawing.count("stroke: var(--table)")
        assert 2 <= bars <= at_most
        assert len(drawing) < 100_000


def test_an_hour_that_differs_is_marked_even_if_the_sums_of_a_day_agree() -> None:
    hours = hours_of(2_000)
    hours[700] = hours[700]._replace(table=4)
    hours[701] = hours[701]._replace(table=2)

    plot = plots(diagnosis(hours=hours))[0]

    assert "2 hours of 2,000 with data differ" in plot.says
    assert any(key.mark == "differs" for key in plot.legend)
    assert not any(key.mark == "differs" for key in plots(diagnosis(hours=hours_of(9)))[0].legend)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("count", [1, 60, 1_440, 100_000])
def test_any_number_of_minutes_can_be_drawn(count: int) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    minutes = {start + number * timedelta(minutes=1): 1 + number % 7 for number in range(count)}

    plot = plots(diagnosis(queries=answers(minutes)))[1]

    assert len(plot.rows) <= 160
    assert sum(row[1] for row in plot.rows) == sum(minutes.values())
    assert f"has {min(count, 7)}." in plot.says
    assert len(plot.wide) < 150_000


def test_a_quiet_minute_counts_as_one_without_rows() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    minutes = {start + number * timedelta(minutes=2): 6 for number in range(720)}

    plot = plots(diagnosis(queries=answers(minutes)))[1]

    *_, lowest, mean, highest = plot.rows[0]
    assert (lowest, mean, highest) == (0, 3.0, 6)


def test_offline_the_exchange_has_no_bars() -> None:
    found = diagnosis(hours=hours_of(5, exchange=None), offline=True, breaks=[])

    plot = plots(found)[0]
    page = page_of(found)

    assert "The exchange was not asked." in plot.says
    assert "var(--exchange)" not in plot.wide
    assert plot.columns == ("from", "table")
    assert "not asked (offline)" in page.words
    assert "the exchange was not asked" in page.words


@pytest.mark.parametrize("offline", [True, False])
def test_without_data_each_plot_says_so(offline: bool) -> None:
    empty = diagnosis(
        hours=[],
        offline=offline,
        queries=[query(one.name, " ".join(one.columns)) for one in answers()],
    )

    page = page_of(empty)

    assert not list(page.all("svg"))
    assert page.words.count("There is no data: ") == 4
