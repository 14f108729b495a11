"""No false alarm: accounts that are well pass, whatever they are like and whatever happens."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from support.commandline import Account
from support.diagnosing import Desk, assert_well, check
from support.syncing import DAY, HOUR, MINUTE, NOW, SECOND

from kalshi_fills.practice.account import PracticeAccount, PracticeFill, generate_account
from kalshi_fills.practice.exchange import PracticeExchange
from kalshi_fills.practice.ledger import to_us
from kalshi_fills.warehouse.client import Warehouse
from kalshi_fills.warehouse.statements import Tables

_serial = itertools.count(1)


class Case:
    """A healthy account made from a seed, synced, and what goes on while it is looked at."""

    def __init__(self, seed: int, desk: Desk) -> None:
        self.seed = seed
        self.desk = desk
        self._rng = rng = random.Random(seed)
        self._met = 0
        self._new = itertools.count(1)
        busy = rng.random() < 0.15  # thousands of rows an hour
        span = timedelta(hours=rng.choice((1, 2)) if busy else rng.choice((3, 30, 24 * 9, 24 * 80)))
        end = NOW - rng.choice((0, 1, 50, 7_000)) * SECOND
        self.account = generate_account(
            seed,
            rng.randrange(900, 2_500) if busy else rng.choice((0, 1, 7, 60, 200, 400)),
            start=end - span,
            end=end,
            eras="current",
            subaccounts=rng.choice(((0,), (0, 1), (3,), (0, 1, 2, 63))),
        )
        if rng.random() < 0.8:
            share = rng.choice((0.3, 0.7, 1.0))
            self.account = self.account.settled(share, scalar_share=0.3, seed=seed)
        self._tiers = {
            "cutoff": rng.choice((None, NOW - span / 2, NOW - span / 3, NOW - 2 * span)),
            "orders_cutoff": rng.choice((None, NOW - span / 2, NOW - span / 4, NOW)),
        }

    def run(self) -> None:
        """Sync, let time pass, and diagnose more than once."""
        rng, desk = self._rng, self.desk
        desk.migrate()
        first, again = rng.choice(
            (("current", "current"), ("current", "current_minimal"), ("current_minimal", "current"))
        )
        if rng.random() < 0.3:  # the exchange leaves out what it told before, or the reverse
            desk.serve(replace(self.account, eras=first), **self._tiers)
            desk.run()
            self.account.eras = again
        desk.serve(self.account, **self._tiers, as_of_lag_seconds=rng.choice((0, 0, 40, 900)))
        desk.run(full=first != "current" or rng.random() < 0.5)
        self._move_contracts()
        for _ in range(2):
            self._look()
            desk.clock.now += rng.choice((1, 70, 1_500, 6_000)) * SECOND
            self._trade(rng.choice((0, 1, 5)))
            if rng.random() < 0.3:
                desk.run()

    def _look(self) -> None:
        rng, now = self._rng, self.desk.clock.now
        since = rng.choice((HOUR, 5 * HOUR, DAY, 100 * DAY))
        until = rng.choice((None, None, now - rng.random() * since))
        traded = bool(self.desk.exchange._listing.rows)
        found = self.desk.diagnose(since, until, after=self._meanwhile)
        if traded or check(found, "volume_matches_api").status == "pass":
            assert_well(found)
        else:  # it looks like an exchange in maintenance: nothing is proven, nothing is wrong
            assert check(found, "volume_matches_api").status == "skip"
            assert (found.verdict, found.breaks, found.causes) == ("warn", [], [])
        assert found.hours == sorted(found.hours)
        if rng.random() < 0.3:
            assert_well(self.desk.diagnose(since, until, offline=True))

    def _meanwhile(self, path: str) -> None:
        """Trade a little at any moment of the reading, and sync now and then."""
        self._met += 1
        if self._rng.random() < 0.1 and self._met < 60:
            self._trade(1)
        if self._rng.random() < 0.01:
            self.desk.run()

    def _trade(self, count: int) -> None:
        now_us = to_us(self.desk.clock.now)
        self.desk.exchange.add(self._fill(now_us - number) for number in range(count))

    def _fill(self, at_us: int) -> PracticeFill:
        """Return one more fill, of an order that there is where there is one."""
        number = next(self._new)
        fills = [
            fill for fill in self.account.fills if not self.account.is_settled(fill.ticker, at_us)
        ]
        like = self._rng.choice(fills) if fills and self._rng.random() < 0.8 else None
        fill = PracticeFill(
            fill_id=f"new-{self.seed}-{number}",
            order_id=f"order-{self.seed}-{number // 3}",
            ticker="KXNEW-26DEC31-T1",
            outcome_side="yes",
            count=Decimal("1.37"),
            yes_price=Decimal("0.0150"),
            fee=Decimal("0.000700"),
            is_taker=False,
            subaccount=0,
            exchange_index=0,
            executed_at_us=at_us,
        )
        if like is None:
            return fill
        return replace(
            fill,
            order_id=like.order_id,
            ticker=like.ticker,
            outcome_side=like.outcome_side,
            subaccount=like.subaccount,
        )

    def _move_contracts(self) -> None:
        """Move contracts of an open market between two subaccounts that trade."""
        places = sorted({fill.subaccount for fill in self.account.fills})
        now_us = to_us(self.desk.clock.now)
        tickers = [
            fill.ticker
            for fill in self.account.fills
            if not self.account.is_settled(fill.ticker, now_us + to_us(NOW) - to_us(NOW - DAY))
        ]
        if len(places) > 1 and tickers and self._rng.random() < 0.4:
            ticker, moved = self._rng.choice(tickers), Decimal("2.50")
            self.desk.exchange.move_position(ticker, places[0], -moved)
            self.desk.exchange.move_position(ticker, places[1], moved)


@pytest.fixture
def look_at(
    embedded: Warehouse, api_key: Account, serve: Callable[..., PracticeExchange]
) -> Callable[[int], None]:
    """Make a healthy account of a seed and hold its diagnosis to finding nothing."""

    def look(seed: int) -> None:
        tables = Tables(f"healthy_{os.getpid()}_{next(_serial)}")
        try:
            Case(seed, Desk(embedded, tables, api_key, serve)).run()
        finally:
            embedded.command(f"DROP DATABASE IF EXISTS {tables.database}")

    return look


@pytest.mark.sampled(10)
@pytest.mark.parametrize("first", range(0, 40, 4))
def test_healthy_accounts_raise_no_alarm(look_at: Callable[[int], None], first: int) -> None:
    for seed in range(first, first + 4):
        look_at(seed)


@pytest.mark.torture
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("first", range(1_000, 2_000, 50))
def test_a_thousand_healthy_accounts_raise_no_alarm(
    look_at: Callable[[int], None], first: int
) -> None:
    for seed in range(first, first + 50):
        look_at(seed)


@pytest.fixture
def desk(embedded: Warehouse, api_key: Account, serve: Callable[..., PracticeExchange]) -> Desk:
    tables = Tables(f"healthy_{os.getpid()}_{next(_serial)}")
    return Desk(embedded, tables, api_key, serve)


def active(fills: int, span: timedelta) -> PracticeAccount:
    return generate_account(77, fills, start=NOW - span, end=NOW - MINUTE, eras="current")


def test_an_active_market_maker_passes_with_the_cadence_tested(desk: Desk) -> None:
    """Thousands of fills an hour, so that the cadence is really looked at and found uneven."""
    desk.healthy(active(6_000, 3 * HOUR))

    found = desk.diagnose()

    assert_well(found)
    assert check(found, "no_periodic_cadence").status == "pass"
    assert "exchange 6,000, table 6,000" in check(found, "volume_matches_api").observed


@pytest.mark.parametrize("era", ["current_minimal", "transitional", "legacy", "readme"])
def test_an_account_of_any_era_passes(desk: Desk, era: str) -> None:
    account = generate_account(
        5,
        150,
        start=NOW - 20 * HOUR,
        end=NOW - HOUR,
        eras=era,  # type: ignore[arg-type]
    )
    desk.healthy(account, cutoff=NOW - 9 * HOUR)

    assert_well(desk.diagnose())


def test_an_account_of_years_passes_as_a_whole(desk: Desk) -> None:
    start = datetime(2025, 4, 1, tzinfo=NOW.tzinfo)
    account = generate_account(6, 1_500, start=start, end=NOW - HOUR)
    cutoff = NOW - 60 * DAY
    desk.healthy(account, cutoff=cutoff, orders_cutoff=NOW - 14 * DAY)

    assert_well(desk.diagnose(NOW - start))
