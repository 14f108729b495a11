"""What is one settled market on both sides: rows of one or more subaccounts, and how they agree."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from kalshi_fills.reconcile.settled import SettledMarket
from kalshi_fills.reconcile.totals import SettledRow, SettledSums, Totals, total

AT = datetime(2026, 11, 20, tzinfo=UTC)


def row(number: int, yes: str, no: str = "0", fees: str = "0", **changes: object) -> SettledRow:
    zero = Decimal(0)
    return SettledRow(
        "M", number, AT, "yes", Decimal(yes), Decimal(no), zero, zero, zero, Decimal(fees), None
    )._replace(**changes)


def sums(yes: str, no: str = "0", fees: str = "0", unknown: int = 0) -> SettledSums:
    zero = Decimal(0)
    return SettledSums(1, AT, Decimal(yes), Decimal(no), zero, zero, Decimal(fees), unknown)


def market(
    rows: list[SettledRow], held: dict[int | None, SettledSums], ticker: str = "M"
) -> SettledMarket:
    return SettledMarket(ticker, {one.subaccount_number: one for one in rows}, held)


@pytest.mark.parametrize(
    ("rows", "held", "agrees", "moved"),
    [
        pytest.param([row(0, "5")], {0: sums("5")}, True, False, id="one of one"),
        pytest.param([row(0, "5")], {0: sums("4.99")}, False, False, id="a hundredth is missing"),
        pytest.param([row(0, "5", fees="0.1")], {0: sums("5")}, False, False, id="another fee"),
        pytest.param(
            [row(0, "5", fees="0.1")], {0: sums("5", unknown=1)}, True, False, id="fee unknown"
        ),
        pytest.param([row(0, "5")], {}, False, False, id="no fill at all"),
        pytest.param([row(0, "0")], {}, True, False, id="nothing on both sides"),
        pytest.param(
            [row(0, "5"), row(1, "3")], {0: sums("5"), 1: sums("3")}, True, False, id="one each"
        ),
        pytest.param(
            [row(0, "6"), row(1, "2")], {0: sums("5"), 1: sums("3")}, True, True, id="moved"
        ),
        pytest.param([row(0, "8")], {0: sums("5"), 1: sums("3")}, True, False, id="one for all"),
        pytest.param(
            [row(0, "8"), row(1, "8")], {0: sums("5"), 1: sums("3")}, True, False, id="all, twice"
        ),
        pytest.param(
            [row(0, "8"), row(1, "8")], {0: sums("8")}, True, False, id="all of one, twice"
        ),
        pytest.param([row(1, "3")], {0: sums("5"), 1: sums("3")}, True, False, id="one of two"),
        pytest.param([row(1, "4")], {0: sums("5"), 1: sums("3")}, False, False, id="not its own"),
        pytest.param(
            [row(0, "5"), row(1, "3")], {None: sums("8")}, True, False, id="nobody knows whose"
        ),
        pytest.param([row(1, "3")], {None: sums("8")}, False, False, id="too many of whoever"),
        pytest.param(
            [row(0, "5"), row(1, "5")], {0: sums("5"), 1: sums("5")}, True, False, id="equal ones"
        ),
        pytest.param(
            [row(0, "5"), row(1, "5")], {0: sums("5"), 1: sums("4")}, False, False, id="less"
        ),
    ],
)
def test_both_sides_agree_only_where_nothing_is_missing(
    rows: list[SettledRow], held: dict[int | None, SettledSums], agrees: bool, moved: bool
) -> None:
    found = market(rows, held)

    assert found.agrees is agrees
    assert found.is_moved is moved
    assert bool(list(found.breaks())) is not agrees


@pytest.mark.parametrize(
    ("rows", "held", "expected"),
    [
        pytest.param([row(0, "8"), row(1, "8")], {0: sums("5"), 1: sums("3")}, True, id="of both"),
        pytest.param([row(0, "8"), row(1, "8")], {0: sums("8")}, True, id="of one"),
        pytest.param([row(0, "8"), row(1, "8")], {None: sums("8")}, True, id="of whomever"),
        pytest.param([row(0, "5"), row(1, "5")], {0: sums("5"), 1: sums("5")}, False, id="equal"),
        pytest.param([row(0, "5"), row(1, "5")], {0: sums("10")}, False, id="moved"),
        pytest.param([row(0, "5"), row(1, "3")], {0: sums("5"), 1: sums("3")}, False, id="own"),
        pytest.param([row(0, "8")], {0: sums("8")}, False, id="one row"),
        pytest.param([row(0, "0"), row(1, "0")], {}, False, id="nothing"),
    ],
)
def test_a_row_is_listed_for_each_only_where_all_fills_together_are_it(
    rows: list[SettledRow], held: dict[int | None, SettledSums], expected: bool
) -> None:
    assert market(rows, held).is_listed_for_each is expected


def test_a_break_has_both_sides_as_values() -> None:
    found = market([row(0, "5", "2", "0.000002")], {0: sums("5", "2.01", "0.000001")})

    assert [(one.field, one.exchange, one.table) for one in found.breaks()] == [
        ("no_count_fp", Decimal(2), Decimal("2.01")),
        ("fee_cost", Decimal("0.000002"), Decimal("0.000001")),
    ]
    assert {(one.scope, one.kind, one.market_ticker) for one in found.breaks()} == {
        ("settlement", "mismatch", "M")
    }


@pytest.mark.parametrize(
    ("result", "payout", "yes", "no", "revenue", "differs"),
    [
        ("yes", None, "5", "2", "3.00", False),
        ("yes", None, "5", "2", "3.01", False),
        ("yes", None, "5", "2", "3.02", True),
        ("no", None, "5", "2", "0", False),
        ("no", None, "2", "5", "3", False),
        ("scalar", "0.37", "2.50", "0", "0.93", False),
        ("scalar", "0.37", "2.50", "0", "0.95", True),
        ("scalar", "0.37", "0", "5", "17", False),
        ("void", None, "5", "2", "17", False),
    ],
)
def test_revenue_is_what_was_held_to_the_cent(
    result: str, payout: str | None, yes: str, no: str, revenue: str, differs: bool
) -> None:
    one = row(
        0,
        yes,
        no,
        market_result=result,
        payout_per_yes_dollars=None if payout is None else Decimal(payout),
        revenue_dollars=Decimal(revenue),
    )

    assert market([one], {0: sums(yes, no)}).revenue_differs is differs


def test_costs_may_be_rounded_by_a_millionth_a_fill() -> None:
    held = {0: sums("1")._replace(fills=3, yes_cost_dollars=Decimal("0.33333333"))}
    near = row(0, "1", yes_cost_dollars=Decimal("0.333330"))
    far = row(0, "1", yes_cost_dollars=Decimal("0.333320"))

    assert not market([near], held).costs_differ
    assert market([far], held).costs_differ


def test_a_sum_with_an_unknown_fee_has_no_fee() -> None:
    one, other = Totals(Decimal(1), Decimal(2), Decimal(3)), Totals(Decimal(1), Decimal(0), None)

    assert total([one, other]) == Totals(Decimal(2), Decimal(2), None)
    assert total([]) == Totals()
