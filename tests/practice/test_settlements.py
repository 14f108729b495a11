"""What the practice exchange settles and pays follows from its own fills."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from support.commandline import KEY_ID, Account
from support.settling import settled_account
from support.syncing import DAY, HOUR, NOW, fill_at

from kalshi_fills.errors import ExchangeError
from kalshi_fills.exchange.client import RetryBudget
from kalshi_fills.exchange.endpoints import Exchange
from kalshi_fills.exchange.signing import Signer
from kalshi_fills.practice.account import PracticeAccount
from kalshi_fills.practice.exchange import PracticeExchange
from kalshi_fills.practice.faults import Faults
from kalshi_fills.practice.settlements import OPENING_DOLLARS

Ask = Callable[..., Any]


class Asked:
    """An exchange that stands at NOW, and a client of it."""

    def __init__(self, exchange: PracticeExchange, key: Account) -> None:
        self.exchange = exchange
        self._client = Exchange(
            exchange.url,
            Signer(KEY_ID, key.key),
            rate_share=1.0,
            retry=RetryBudget(2.0, 4, 0.01, 0.02),
            clock=NOW.timestamp,
        )

    def get(self, path: str, **params: object) -> Any:
        texts = {name: str(value) for name, value in params.items()}
        return self._client.get(path, texts, json.loads)

    def settlements(self, **params: object) -> list[dict[str, Any]]:
        texts = {name: str(value) for name, value in params.items()}
        pages = self._client.walk("/portfolio/settlements", texts, "settlements")
        return [json.loads(item) for page in pages for item in page]

    def positions(self, subaccount: int) -> dict[str, Decimal]:
        found = self.get("/portfolio/positions", subaccount=subaccount, limit=1000)
        return {one["ticker"]: Decimal(one["position_fp"]) for one in found["market_positions"]}


@pytest.fixture
def ask(serve: Callable[..., PracticeExchange], api_key: Account) -> Ask:
    def start(account: PracticeAccount | None = None, **options: Any) -> Asked:
        exchange = serve(account or settled_account(), clock=NOW.timestamp, **options)
        return Asked(exchange, api_key)

    return start


def sums(account: PracticeAccount, ticker: str, subaccounts: set[int]) -> tuple[Decimal, ...]:
    """Return contracts, costs and fees of yes and no, added up anew."""
    found = [Decimal(0)] * 5
    for fill in account.fills:
        if fill.ticker == ticker and fill.subaccount in subaccounts:
            leg = fill.yes_price if fill.outcome_side == "yes" else 1 - fill.yes_price
            side = 0 if fill.outcome_side == "yes" else 1
            found[side] += fill.count
            found[2 + side] += fill.count * leg
            found[4] += fill.fee
    return tuple(found)


def told(row: dict[str, Any]) -> tuple[Decimal, ...]:
    return tuple(
        Decimal(row[key])
        for key in (
            "yes_count_fp", "no_count_fp", "yes_total_cost_dollars", "no_total_cost_dollars",
            "fee_cost",
        )
    )  # fmt: skip


def test_a_row_adds_up_every_fill_of_the_market_and_pays_for_what_is_held(ask: Ask) -> None:
    account = settled_account()
    asked = ask(account)
    listed = {number: asked.settlements(subaccount=number) for number in (0, 1, 7)}

    assert all(listed.values())
    results = Counter(row["market_result"] for row in listed[0])
    assert set(results) == {"yes", "no", "scalar"}
    for number, rows in listed.items():
        assert [row["settled_time"] for row in rows] == sorted(
            (row["settled_time"] for row in rows), reverse=True
        )
        for row in rows:
            found = sums(account, row["ticker"], {number})
            assert told(row) == found
            held = found[0] - found[1]
            payout = {"yes": 100, "no": 0}.get(row["market_result"], row["value"])
            exact = held * payout if held > 0 else -held * (100 - payout)
            assert abs(row["revenue"] - exact) <= Decimal("0.5")
            assert row["market_result"] == "scalar" or row["revenue"] == exact
            assert row["ticker"] not in asked.positions(number)
    settled = {row["ticker"] for rows in listed.values() for row in rows}
    closed = {row for row, at in account.settles_at_us.items() if at < NOW.timestamp() * 1e6}
    assert settled == closed & {fill.ticker for fill in account.fills}
    left = {fill.ticker for fill in account.fills if fill.subaccount == 0} - settled
    assert left
    assert set(asked.positions(0)) == left


def test_all_subaccounts_come_each_or_summed(ask: Ask) -> None:
    account = settled_account()
    asked = ask(account)
    each = asked.settlements()
    asked.exchange.portfolio.summed = True
    summed = asked.settlements()

    assert len({row["ticker"] for row in each}) == len(summed) < len(each)
    for row in summed:
        assert told(row) == sums(account, row["ticker"], {0, 1, 7})
        parts = [one["revenue"] for one in each if one["ticker"] == row["ticker"]]
        assert row["revenue"] == sum(parts)
    assert len(asked.settlements(subaccount=7)) < len(summed)


def test_filters_pages_and_what_is_not_settled_yet(ask: Ask) -> None:
    asked = ask()
    rows = asked.settlements()
    asked.exchange.portfolio.largest_page = 4
    assert asked.settlements() == rows
    one = rows[len(rows) // 2]
    by_ticker = asked.settlements(ticker=one["ticker"])
    assert {row["ticker"] for row in by_ticker} == {one["ticker"]}
    by_event = asked.settlements(event_ticker=one["event_ticker"])
    assert {row["event_ticker"] for row in by_event} == {one["event_ticker"]}
    middle = int((NOW - 4 * DAY).timestamp())
    early, late = asked.settlements(max_ts=middle), asked.settlements(min_ts=middle)
    assert early
    assert late
    assert late + early == rows

    ticker = next(
        iter({fill.ticker for fill in settled_account().fills} - {r["ticker"] for r in rows})
    )
    asked.exchange.portfolio.settle(ticker, "yes", 100, NOW + HOUR)
    assert asked.settlements() == rows
    asked.exchange.portfolio.settle(ticker, "no", 0, NOW - HOUR)
    assert len(asked.settlements(ticker=ticker)) > 0
    assert ticker not in asked.positions(0)


def test_corrections_hidden_markets_junk_late_fills_and_refusals(ask: Ask) -> None:
    asked = ask()
    portfolio = asked.exchange.portfolio
    row = portfolio.rows()[0]
    portfolio.correct(row.ticker, row.subaccount, revenue=7, new_key="of tomorrow")
    (found,) = asked.settlements(ticker=row.ticker, subaccount=row.subaccount)
    assert (found["revenue"], found["new_key"]) == (7, "of tomorrow")

    late = fill_at(NOW - 7 * DAY, ticker=row.ticker, subaccount=row.subaccount)
    asked.exchange.add([late])
    (again,) = asked.settlements(ticker=row.ticker, subaccount=row.subaccount)
    assert told(again)[0] == told(found)[0] + late.count
    portfolio.hide(row.ticker)
    assert asked.settlements(ticker=row.ticker) == []
    before = len(asked.settlements())
    portfolio.insert_item("junk", NOW - HOUR)
    assert len(asked.settlements()) == before + 1

    portfolio.refuse_with = 403
    with pytest.raises(ExchangeError) as refused:
        asked.settlements()
    assert refused.value.status == 403


def test_faults_and_restricted_keys_apply_here_too(ask: Ask) -> None:
    faults = Faults(seed=3, server_error=0.3, overlap_page=0.5, empty_page=0.3)
    asked = ask(faults=faults, largest_page=5)
    met = {json.dumps(row) for row in asked.settlements()}
    assert met == {
        json.dumps(row.payload(), sort_keys=False) for row in asked.exchange.portfolio.rows()
    }
    assert faults.injected["server_error"]
    assert faults.injected["overlap_page"]

    asked = ask(restricted_subaccount=1)
    with pytest.raises(ExchangeError, match="restricted"):
        asked.settlements(subaccount=1)


def test_balances_are_the_cash_of_fills_and_settlements(ask: Ask) -> None:
    account = settled_account()
    asked = ask(account)
    rows = {number: asked.settlements(subaccount=number) for number in (0, 1, 7)}
    balances = asked.get("/portfolio/subaccounts/balances")["subaccount_balances"]

    for number in (0, 1, 7):
        cash = OPENING_DOLLARS + sum(Decimal(row["revenue"]) / 100 for row in rows[number])
        for ticker in {fill.ticker for fill in account.fills}:
            yes, no, yes_cost, no_cost, fees = sums(account, ticker, {number})
            cash += min(yes, no) - yes_cost - no_cost - fees
        own = [Decimal(one["balance"]) for one in balances if one["subaccount_number"] == number]
        assert abs(sum(own) - cash) < Decimal("0.001")
        told_alone = asked.get("/portfolio/balance", subaccount=number)
        assert abs(Decimal(told_alone["balance_dollars"]) - cash) < Decimal("0.0002")
        assert told_alone["balance"] == int(Decimal(told_alone["balance_dollars"]) * 100 // 1)
        assert told_alone["portfolio_value"] >= 0
        parts = [Decimal(one["balance"]) for one in told_alone["balance_breakdown"]]
        assert parts == own
    assert asked.get("/portfolio/balance") == asked.get("/portfolio/balance", subaccount=0)


def test_an_account_lists_no_settlements_unless_it_says_so(ask: Ask) -> None:
    account = settled_account()
    assert ask(replace(account, settlements={})).settlements() == []
    assert settled_account(share=0.0).settlements == {}
    whole = settled_account(share=1.0)
    assert len(whole.settlements) == len(whole.settles_at_us)
    assert 0.5 < len(account.settlements) / len(whole.settlements) < 0.9
    assert account.settlements.items() <= whole.settlements.items()
    for ticker, market in whole.settlements.items():
        after = timedelta(microseconds=market.settled_at_us - whole.settles_at_us[ticker])
        assert timedelta(0) < after < timedelta(minutes=2)
