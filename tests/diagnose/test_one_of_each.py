"""A table of one row, wrong in one way after the other: no plural follows a count of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from support.diagnoses import embedded_only
from support.diagnosing import Desk, check, engine_row
from support.singular import plurals_of_one
from support.syncing import HOUR, MINUTE, NOW, account_of, claim, fill_at

from kalshi_fills.diagnose.run import Diagnosis
from kalshi_fills.report.diagnose import show_diagnosis
from kalshi_fills.report.page import render

FILL = fill_at(NOW - 3 * HOUR)


def nothing(desk: Desk) -> None:
    """Leave the table as it is."""


def a_hole(desk: Desk) -> None:
    desk.delete(FILL)


def another_price(desk: Desk) -> None:
    desk.change(FILL, "size = size + 1")


def garbage(desk: Desk) -> None:
    desk.write(engine_row(FILL, price_cents=0, exchange_order_id="order of a quote", raw_json="{}"))


def a_repeat(desk: Desk) -> None:
    desk.write(engine_row(FILL))


def a_row_of_another(desk: Desk) -> None:
    desk.write(engine_row(FILL, exchange_order_id="another", raw_json="{}"))


def a_claim(desk: Desk) -> None:
    desk.exchange.insert_item(claim(NOW - HOUR), NOW - HOUR)
    desk.run()


def a_fill_that_is_pending(desk: Desk) -> None:
    desk.exchange.add([fill_at(NOW + MINUTE, 1)])
    desk.clock.now = NOW + 5 * MINUTE


def a_failure(desk: Desk) -> None:
    desk.ledger("failed", timedelta(minutes=1), error="1 row")


def a_withdrawal(desk: Desk) -> None:
    desk.serve(account_of())


@embedded_only
@pytest.mark.parametrize(
    "break_it",
    [
        nothing,
        a_hole,
        another_price,
        garbage,
        a_repeat,
        a_row_of_another,
        a_claim,
        a_fill_that_is_pending,
        a_failure,
        a_withdrawal,
    ],
)
def test_one_of_each(
    desk: Desk, break_it: Callable[[Desk], None], capsys: pytest.CaptureFixture[str]
) -> None:
    desk.healthy(account_of(FILL))
    break_it(desk)
    for found in (desk.diagnose(), desk.diagnose(offline=True)):
        assert plurals_of_one(told(found, desk, capsys)) == []


def told(found: Diagnosis, desk: Desk, capsys: pytest.CaptureFixture[str]) -> str:
    """Return everything that is printed of a diagnosis, and its page."""
    show_diagnosis(found, desk.tables)
    return capsys.readouterr().out + render(found, desk.tables, NOW)


@embedded_only
def test_the_order_with_the_most_rows_is_named_only_where_they_are_too_many(desk: Desk) -> None:
    usual = [replace(fill_at(NOW - HOUR, number), order_id="usual") for number in range(5)]
    desk.healthy(account_of(*usual, FILL))
    a_row_of_another(desk)
    duplicates = check(desk.diagnose(), "no_duplicate_rows")
    assert duplicates.status == "fail"
    assert duplicates.observed == "1 order has more rows than fills"

    desk.write(*(engine_row(one, fill_id=f"again {at}") for at, one in enumerate(usual)))
    observed = check(desk.diagnose(), "no_duplicate_rows").observed
    assert observed.endswith("order usual alone has 10 rows")
