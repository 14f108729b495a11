"""The views that add fills up, held against a replay of the fills, one by one, in Decimal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from support.syncing import DAY, HOUR, NOW, Bench, account_of, fill_at

from kalshi_fills.practice.account import PracticeAccount, PracticeFill, generate_account
from kalshi_fills.practice.ledger import to_us
from kalshi_fills.practice.settlements import MarketSettlement

BY_MARKET = (
    "first_fill, last_fill, fills, yes_contracts, no_contracts, net_position, yes_cost_dollars, "
    "no_cost_dollars, fee_dollars, settled, market_result, revenue_dollars, cash_dollars, "
    "pnl_dollars"
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(fill: PracticeFill) -> datetime:
    return EPOCH + timedelta(microseconds=fill.executed_at_us)


def price(fill: PracticeFill) -> Decimal:
    return fill.yes_price if fill.outcome_side == "yes" else 1 - fill.yes_price


class Replay:
    """The cash of one market and subaccount, as fill after fill moves it.

    A contract costs its price and its fee; a contract of the other outcome closes one that is
    held, and the pair returns a dollar; what is held at the end is paid for by the settlement.
    """

    def __init__(self) -> None:
        self.cash = Decimal(0)
        self.held = {"yes": Decimal(0), "no": Decimal(0)}

    def trade(self, fill: PracticeFill) -> None:
        self.cash -= fill.count * price(fill) + fill.fee
        other = "no" if fill.outcome_side == "yes" else "yes"
        closed = min(self.held[other], fill.count)
        self.held[other] -= closed
        self.held[fill.outcome_side] += fill.count - closed
        self.cash += closed

    def settle(self, market: MarketSettlement) -> Decimal:
        """Return what is paid: to the cent, as the exchange rounds it."""
        assert market.payout_cents is not None
        yes, no = market.payout_cents, 100 - market.payout_cents
        cents = self.held["yes"] * yes + self.held["no"] * no
        paid = Decimal(round(cents)) / 100
        self.cash += paid
        return paid


def by_market(account: PracticeAccount) -> dict[tuple[str, int], list[PracticeFill]]:
    found: dict[tuple[str, int], list[PracticeFill]] = {}
    for fill in sorted(account.fills, key=lambda fill: fill.place):
        found.setdefault((fill.ticker, fill.subaccount), []).append(fill)
    return found


def expected(account: PracticeAccount) -> dict[tuple[str, int], tuple[Any, ...]]:
    """Return what the view must show of each market and subaccount, from a replay."""
    rows = {}
    for key, fills in by_market(account).items():
        replay = Replay()
        for fill in fills:
            replay.trade(fill)
        sums = {
            side: [fill for fill in fills if fill.outcome_side == side] for side in ("yes", "no")
        }
        net = replay.held["yes"] - replay.held["no"]
        market = account.settlements.get(key[0])
        if market is not None and market.settled_at_us > to_us(NOW):
            market = None
        paid = replay.settle(market) if market else None
        rows[key] = (
            moment(fills[0]),
            moment(fills[-1]),
            len(fills),
            total(fill.count for fill in sums["yes"]),
            total(fill.count for fill in sums["no"]),
            net,
            total(fill.count * price(fill) for fill in sums["yes"]),
            total(fill.count * price(fill) for fill in sums["no"]),
            total(fill.fee for fill in fills),
            market is not None,
            market.result if market else None,
            paid,
            replay.cash,
            replay.cash if market or not net else None,
        )
    return rows


def total(parts: Iterable[Decimal]) -> Decimal:
    return sum(parts, Decimal(0))


def shown(bench: Bench, what: str = BY_MARKET) -> dict[tuple[str, int | None], tuple[Any, ...]]:
    rows = bench.warehouse.rows(
        f"SELECT market_ticker, subaccount_number, {what} FROM {bench.tables.name('_by_market')}"
    )
    assert len({row[:2] for row in rows}) == len(rows)
    return {(row[0], row[1]): row[2:] for row in rows}


def traded(seed: int, fills: int = 400) -> PracticeAccount:
    """Return an account that flips, closes in part and holds both sides of its markets."""
    account = generate_account(seed, fills, start=NOW - 6 * DAY, end=NOW - HOUR, eras="current")
    return account.settled(0.75, scalar_share=0.3, seed=seed)


def test_by_market_is_what_a_replay_of_the_fills_is(bench: Bench) -> None:
    account = traded(21)
    bench.serve(account)
    bench.run()

    wanted = expected(account)
    assert shown(bench) == wanted
    flips = [rows for rows in by_market(account).values() if len(rows) > 4]
    assert flips
    assert sum(row[-1] is None for row in wanted.values()) > 3  # open, and no profit yet
    assert any(row[5] and row[3] and row[4] and row[9] for row in wanted.values())
    assert all(row[-1] is not None for row in wanted.values() if row[9])
    one = next(iter(wanted))
    alone = bench.warehouse.rows(
        f"SELECT subaccount_number FROM {bench.tables.name('_by_market')} WHERE market_ticker = "
        "{ticker:String}",
        {"ticker": one[0]},
    )
    assert {row[0] for row in alone} == {number for ticker, number in wanted if ticker == one[0]}


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(100, 120))
def test_profit_of_many_accounts_is_that_of_their_replay(bench: Bench, seed: int) -> None:
    account = traded(seed, 1_500)
    bench.serve(account)
    bench.run()

    assert shown(bench) == expected(account)


def test_by_market_counts_a_fill_once_whatever_is_merged(bench: Bench) -> None:
    account = account_of(fill_at(NOW - HOUR))
    bench.serve(account)
    bench.run()
    before = shown(bench)
    bench.warehouse.command(
        f"INSERT INTO {bench.tables.name()} SELECT * REPLACE (version - 1 AS version, size + 5 AS "
        f"size) FROM {bench.tables.name()}"
    )

    assert shown(bench) == before


def test_what_is_not_known_is_null(bench: Bench) -> None:
    """Fees of old fills, and whose they are."""
    old = fill_at(NOW - 3 * DAY, 1, ticker="KXOLD-T1", count=Decimal(4))
    same = replace(old, fill_id="second", outcome_side="no", executed_at_us=old.executed_at_us + 1)
    account = replace(account_of(old, same, fill_at(NOW - HOUR, 3)), eras="legacy")
    account.settlements["KXOLD-T1"] = MarketSettlement(to_us(NOW - DAY), "yes", 100)
    account.settles_at_us["KXOLD-T1"] = to_us(NOW - DAY)
    bench.serve(account)
    bench.run()

    what = "fills, yes_contracts, fee_dollars, settled, revenue_dollars, cash_dollars, pnl_dollars"
    assert shown(bench, what) == {
        ("KXOLD-T1", None): (2, Decimal(4), None, True, Decimal(0), None, None),
        (fill_at(NOW).ticker, None): (1, Decimal(10), None, False, None, None, None),
    }
    of_days = bench.warehouse.rows(
        f"SELECT subaccount_number, fills, fee_dollars FROM {bench.tables.name('_by_day')} ORDER "
        "BY day"
    )
    assert of_days == [(None, 2, None), (None, 1, None)]


def test_one_fill_of_an_unknown_subaccount_makes_its_market_one_row(bench: Bench) -> None:
    fills = [
        fill_at(NOW - 2 * HOUR, number, ticker="KXBOTH-T1", subaccount=number, count=Decimal(5))
        for number in (0, 1)
    ]
    account = account_of(*fills)
    account.settlements["KXBOTH-T1"] = MarketSettlement(to_us(NOW - HOUR), "yes", 100)
    account.settles_at_us["KXBOTH-T1"] = to_us(NOW - HOUR)
    bench.serve(account)
    bench.run()
    assert set(shown(bench)) == {("KXBOTH-T1", 0), ("KXBOTH-T1", 1)}
    bench.warehouse.command(
        f"ALTER TABLE {bench.tables.name()} UPDATE subaccount_number = NULL WHERE fill_id = "
        f"'{fills[1].fill_id}' SETTINGS mutations_sync = 2"
    )

    what = "fills, revenue_dollars, cash_dollars, pnl_dollars"
    assert shown(bench, what) == {("KXBOTH-T1", None): (2, Decimal(10), None, None)}


def test_by_day_is_what_the_fills_of_the_day_are(bench: Bench) -> None:
    account = traded(8, 300)
    bench.serve(account)
    bench.run()

    wanted: dict[tuple[Any, int], list[PracticeFill]] = {}
    for fill in account.fills:
        wanted.setdefault((moment(fill).date(), fill.subaccount), []).append(fill)
    rows = bench.warehouse.rows(
        "SELECT day, subaccount_number, fills, contracts, notional_dollars, fee_dollars, "
        f"maker_share, markets FROM {bench.tables.name('_by_day')}"
    )
    assert {row[:2] for row in rows} == set(wanted)
    for day, subaccount, *sums in rows:
        fills = wanted[day, subaccount]
        contracts = total(fill.count for fill in fills)
        made = total(fill.count for fill in fills if not fill.is_taker)
        assert sums == [
            len(fills),
            contracts,
            total(fill.count * price(fill) for fill in fills),
            total(fill.fee for fill in fills),
            (made / contracts).quantize(Decimal("0.000001"), "ROUND_DOWN"),
            len({fill.ticker for fill in fills}),
        ]
