"""Rows that engines write themselves keep their links and never collapse."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from support.book import DECISION, FILL, LINKS, NOW, Book, kind

from kalshi_fills.warehouse.fills import NO_UUID


def test_an_engines_row_is_replaced_by_the_exchanges_which_keeps_its_links(book: Book) -> None:
    book.engine(price_cents=0, size=0)
    assert book.rows("version") == [(0,)]

    corrected = book.write(FILL)

    assert kind(corrected) == "corrected"
    assert book.once(f"ts, price_cents, size, raw_json, source, {LINKS}") == (
        FILL.executed_at,
        Decimal(41),
        Decimal(10),
        FILL.raw_json,
        "live",
        "engine-order",
        "mm-3f",
        "0.9.3",
        DECISION,
    )


def test_the_exchanges_own_client_order_id_wins_over_the_engines(book: Book) -> None:
    book.engine()

    book.write(FILL._replace(client_order_id="from-the-exchange"))

    assert book.once("client_order_id, decision_id") == ("from-the-exchange", DECISION)


def test_links_outlive_several_corrections(book: Book) -> None:
    book.engine()
    for hours, contracts in ((0, "1"), (1, "2"), (2, "3")):
        book.write(FILL._replace(contracts=Decimal(contracts)), at=NOW + timedelta(hours=hours))
        book.merge()

    assert book.once(LINKS) == ("engine-order", "mm-3f", "0.9.3", DECISION)


def test_an_engines_row_that_comes_late_gives_its_links_at_the_next_write(book: Book) -> None:
    book.write(FILL)
    book.engine()

    corrected = book.write(FILL, at=NOW + timedelta(hours=1))

    assert kind(corrected) == "corrected"
    assert book.once(f"ts, {LINKS}") == (
        FILL.executed_at,
        "engine-order",
        "mm-3f",
        "0.9.3",
        DECISION,
    )
    assert kind(book.write(FILL)) == "known"


@pytest.mark.parametrize("link", ["client_order_id", "engine_instance_id", "engine_version"])
def test_one_late_link_alone_is_taken_too(book: Book, link: str) -> None:
    nothing = {"client_order_id": "", "engine_instance_id": "", "engine_version": ""}
    book.write(FILL)
    book.engine(**(nothing | {"decision_id": NO_UUID, link: "the link"}))

    book.write(FILL, at=NOW + timedelta(hours=1))

    assert book.once(link) == ("the link",)


def test_an_engines_row_alone_does_not_count_over_the_exchanges(book: Book) -> None:
    book.write(FILL)

    book.engine(price_cents=1, size=999)

    assert book.once("price_cents, size") == (Decimal(41), Decimal(10))


@pytest.mark.parametrize("named", [True, False], ids=["named", "left out"])
def test_rows_with_a_blank_id_never_collapse(book: Book, named: bool) -> None:
    row = {
        "ts": FILL.executed_at,
        "market_ticker": FILL.ticker,
        "exchange_order_id": FILL.order_id,
        "side": "yes",
        "price_cents": Decimal(41),
        "size": Decimal(10),
    }
    if named:
        row["fill_id"] = ""
    for _ in range(3):
        book.insert(row, row)

    assert book.rows("count()") == [(6,)]
    book.merge()
    assert book.rows("count()") == [(6,)]


def test_rows_with_a_blank_id_stay_when_the_fill_itself_comes(book: Book) -> None:
    book.engine(fill_id="")
    book.engine(fill_id="")

    assert kind(book.write(FILL)) == "new"

    book.merge()
    assert book.rows("count(), countIf(fill_id = '')") == [(3, 2)]


@pytest.mark.parametrize(
    ("side", "cents", "yes", "no"),
    [
        ("yes", "41", "0.41", "0.59"),
        ("no", "63", "0.37", "0.63"),
        ("yes", "0.5", "0.005", "0.995"),
        ("no", "99.5", "0.005", "0.995"),
        ("yes", "0.0001", "0.000001", "0.999999"),
        ("yes", "0", "0", "0"),
        ("no", "100", "0", "0"),
        ("", "41", "0", "0"),
    ],
)
def test_the_two_prices_of_an_engines_row_follow_from_its_own(
    book: Book, side: str, cents: str, yes: str, no: str
) -> None:
    book.engine(side=side, price_cents=Decimal(cents))

    assert book.once("yes_price_dollars, no_price_dollars") == (Decimal(yes), Decimal(no))


def test_the_old_floats_of_an_engines_row_have_defaults(book: Book) -> None:
    book.engine(price_cents=63)

    assert book.once("price, fee, fee_dollars") == (0.63, 0.0, None)


def test_an_engine_may_still_write_the_old_floats_itself(book: Book) -> None:
    book.engine(price=0.63, fee=0.07, price_cents=63)

    assert book.once("price, fee") == (0.63, 0.07)


@pytest.mark.parametrize(("fee", "shown"), [("0.169330", 0.16933), ("0", 0.0), (None, 0.0)])
def test_the_old_floats_of_our_rows_are_price_and_fee(
    book: Book, fee: str | None, shown: float
) -> None:
    book.write(FILL._replace(fee_dollars=None if fee is None else Decimal(fee)))

    assert book.once("price, fee") == (0.41, shown)


def test_the_view_shows_each_fill_once(book: Book) -> None:
    book.engine()
    book.write(FILL)
    book.write(FILL._replace(contracts=Decimal(3)), at=NOW + timedelta(hours=1))

    found = book.warehouse.rows(f"SELECT size, decision_id FROM {book.tables.name('_current')}")

    assert found == [(Decimal(3), DECISION)]
