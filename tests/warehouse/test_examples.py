"""The questions of `queries/examples/`, each with an answer that was worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal as D
from typing import Any

from support.syncing import Bench, account_of, fill_at

from kalshi_fills.practice.account import PracticeAccount
from kalshi_fills.practice.ledger import to_us
from kalshi_fills.practice.settlements import MarketSettlement
from kalshi_fills.warehouse.statements import load, names

YES, HALF, OPEN = "KXBTC-26NOV20-T1", "KXBTC-26NOV21-T2", "KXHIGHNY-26NOV30-B52"


def _at(day: int, hour: int) -> datetime:
    return datetime(2026, 11, day, hour, tzinfo=UTC)


def small_account() -> PracticeAccount:
    """Return an account of five fills in three markets, of which two are settled.

    KXBTC-26NOV20-T1   10 yes at 0.41 and 4 no at 0.55, fees 0.22; settled as yes: 6 held, paid 6.00
    KXBTC-26NOV21-T2   5.50 no at 0.30 in subaccount 1, fee 0.01; settled at 0.37: paid 3.46
    KXHIGHNY-26NOV30   2 yes at 0.10 and 1 yes at 0.20, fees 0.001; open
    """
    account = account_of(
        fill_at(_at(19, 12), 1, ticker=YES, fee=D("0.17")),
        fill_at(
            _at(19, 13), 2, ticker=YES, outcome_side="no", count=D("4.00"), yes_price=D("0.4500"),
            fee=D("0.05"), is_taker=False,
        ),
        fill_at(
            _at(20, 12), 3, ticker=HALF, outcome_side="no", count=D("5.50"), yes_price=D("0.7000"),
            fee=D("0.01"), is_taker=False, subaccount=1,
        ),
        fill_at(_at(21, 12), 4, ticker=OPEN, count=D("2.00"), yes_price=D("0.1000"), fee=D(0)),
        fill_at(
            _at(22, 11), 5, ticker=OPEN, count=D("1.00"), yes_price=D("0.2000"), fee=D("0.001"),
            is_taker=False,
        ),
    )  # fmt: skip
    for ticker, at, result, payout in (
        (YES, _at(20, 10), "yes", 100),
        (HALF, _at(21, 9), "scalar", 37),
    ):
        account.settlements[ticker] = MarketSettlement(to_us(at), result, payout)
        account.settles_at_us[ticker] = to_us(at)
    return account


PROFIT = D("4") - D("4.10") - D("2.20") - D("0.22") + D("6")
"""Of the market that paid a dollar: four pairs, what was paid for it, and what it paid."""

PROFIT_OF_HALF = -D("1.65") - D("0.01") + D("3.46")

ANSWERS: Mapping[str, list[tuple[Any, ...]]] = {
    "pnl_by_day": [
        (date(2026, 11, 20), 1, 0, D("0.22"), PROFIT),
        (date(2026, 11, 21), 1, 0, D("0.01"), PROFIT_OF_HALF),
    ],
    "pnl_by_series": [("KXBTC", 2, D("19.50"), D("0.23"), PROFIT + PROFIT_OF_HALF)],
    "pnl_by_subaccount": [
        (0, 1, PROFIT, 1, D("-0.401")),
        (1, 1, PROFIT_OF_HALF, 0, None),
    ],
    "cash_by_day": [
        (date(2026, 11, 19), D(14), D("0.285714"), D("-2.52"), 0, D(0)),
        (date(2026, 11, 20), D("5.50"), D(1), D("4.34"), 1, PROFIT),
        (date(2026, 11, 21), D(2), D(0), D("3.26"), 1, PROFIT_OF_HALF),
        (date(2026, 11, 22), D(1), D(1), D("-0.201"), 0, D(0)),
    ],
    "fees_by_role": [
        ("maker", 3, D("10.50"), D("0.061"), D("0.005809")),
        ("taker", 2, D(12), D("0.17"), D("0.014166")),
    ],
    "inventory_now": [(OPEN, 0, "yes", D(3), D("0.401"), _at(22, 11))],
    "worst_markets": [
        (HALF, "scalar", 1, D(0), D("5.50"), D("0.01"), PROFIT_OF_HALF),
        (YES, "yes", 2, D(10), D(4), D("0.22"), PROFIT),
    ],
    "volume_by_hour": [
        (11, 1, D(1), D(1)),
        (12, 3, D("17.50"), D("5.50")),
        (13, 1, D(4), D(4)),
    ],
    "prices_against_results": [
        (D(40), D(10), D(41), D(1)),
        (D(50), D(4), D(55), D(0)),
    ],
    "markets_that_differ": [],
}


def test_each_question_has_an_answer_here() -> None:
    assert set(names("examples")) == {f"examples/{name}" for name in ANSWERS}
    assert len(ANSWERS) == 10
    for name in names("examples"):
        assert load(name).shows, name
        assert "{" not in load(name).text, f"{name} does not run by hand as it is"


def test_every_question_is_answered(bench: Bench) -> None:
    bench.serve(small_account())
    bench.run()

    for name, wanted in ANSWERS.items():
        assert bench.warehouse.rows(bench.tables.sql(f"examples/{name}")) == wanted, name
    bench.warehouse.command(
        f"ALTER TABLE {bench.tables.name()} UPDATE size = 9 WHERE size = 10 SETTINGS "
        "mutations_sync = 2"
    )
    differing = bench.warehouse.rows(bench.tables.sql("examples/markets_that_differ"))
    assert differing == [(YES, D(10), D(9), D(4), D(4), D("0.22"), D("0.22"))]


def test_unknown_fees_leave_profit_and_cash_unknown(bench: Bench) -> None:
    bench.serve(small_account())
    bench.run()
    bench.warehouse.command(
        f"ALTER TABLE {bench.tables.name()} UPDATE fee_dollars = NULL WHERE size = 10 SETTINGS "
        "mutations_sync = 2"
    )

    by_day = bench.warehouse.rows(bench.tables.sql("examples/pnl_by_day"))
    assert by_day[0] == (date(2026, 11, 20), 1, 1, None, None)
    cash = bench.warehouse.rows(bench.tables.sql("examples/cash_by_day"))
    assert [row[3] is None for row in cash] == [True, False, False, False]
    assert [row[5] is None for row in cash] == [False, True, False, False]
