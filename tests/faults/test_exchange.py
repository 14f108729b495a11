"""Faults of the exchange, late fills, and listings without an end."""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from support.commandline import Account, Target
from support.faults import Cli, Serve, refused
from support.faulty import (
    COLUMNS,
    UNLIMITED,
    assert_failed,
    assert_the_truth,
    stored,
)
from support.syncing import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    NOW_FLOORED,
    SECOND,
    Bench,
    account_of,
    canonical,
    fill_at,
)

from kalshi_fills.errors import ExchangeError
from kalshi_fills.exchange import deadline as wire_module
from kalshi_fills.exchange.client import RetryBudget
from kalshi_fills.practice.account import PracticeAccount, PracticeFill, generate_account
from kalshi_fills.practice.faults import Faults
from kalshi_fills.sync.report import SyncReport
from kalshi_fills.warehouse.client import Warehouse

FAULTS = (
    "reset truncate slow empty_body html_instead_of_json server_error throttle repeat_cursor "
    "repeat_page overlap_page empty_page"
).split()


ALL_OF_THEM = "all of them"


def faults_of(which: str, seed: int) -> Faults:
    names = FAULTS if which == ALL_OF_THEM else [which]
    return Faults(**dict.fromkeys(names, 0.1), slow_seconds=0.02, seed=seed)


def years(fills: int, now: datetime) -> tuple[PracticeAccount, datetime]:
    """Return an account of all eras with junk in between, and where its tiers meet."""
    account = generate_account(
        31, fills, start=datetime(2025, 4, 1, tzinfo=UTC), end=now - HOUR, junk_share=0.05
    )
    return account, now - 90 * DAY


# Each fault, and all of them


@pytest.mark.parametrize("fault", [*FAULTS, ALL_OF_THEM])
def test_a_fault_in_a_tenth_of_the_answers_changes_nothing(bench: Bench, fault: str) -> None:
    account, cutoff = years(3_000, NOW)
    bench.faults = faults_of(fault, seed=1)
    bench.serve(account, cutoff=cutoff, largest_page=100)
    runs = 0
    failed = True
    while failed:
        runs += 1
        began = time.monotonic()
        with contextlib.suppress(ExchangeError):
            bench.run()
            failed = False
        assert time.monotonic() - began < 120
        assert runs <= 3

    assert_the_truth(bench.rows(COLUMNS), account, cutoff)
    struck = +bench.faults.injected
    assert struck.keys() == (set(FAULTS) if fault == ALL_OF_THEM else {fault})
    assert refused(bench.warehouse.rows, bench.tables.name("_rejected")) == Counter(
        {canonical(item.value): 1 for item in account.junk}
    )
    if fault == ALL_OF_THEM:
        bench.faults = Faults()
        bench.serve(account, cutoff=cutoff)
        assert bench.run(full=True).counts.n_inserted == 0


@pytest.mark.torture
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("fault", [*FAULTS, ALL_OF_THEM])
def test_a_fault_in_a_tenth_of_the_answers_changes_nothing_of_fifty_thousand_fills(
    cli: Cli, migrated: Target, serve: Serve, now: datetime, fault: str
) -> None:
    account, cutoff = years(50_000, now)
    faults = replace(faults_of(fault, seed=2), slow_seconds=1.0)
    exchange = serve(account, cutoff=cutoff, limits=UNLIMITED, faults=faults)
    codes: list[int] = []
    while not codes or codes[-1] == 4:
        assert len(codes) < 3
        asked, began = exchange.requests.total(), time.monotonic()
        done = cli("sync", "--format", "json", url=migrated.url, api=exchange.url, timeout=900)
        codes.append(done.code)
        took = time.monotonic() - began
        asked = exchange.requests.total() - asked
        print(f"{fault}: exit {done.code} after {took:.1f} s and {asked} requests")
        # One request may use up its whole budget, all others take a second on average.
        assert took < RetryBudget().seconds + asked

    # Some of the junk claims to be a fill.
    assert codes[-1] == 3, done.err
    assert_the_truth(stored(migrated), account, cutoff)
    assert (+faults.injected).keys() == (set(FAULTS) if fault == ALL_OF_THEM else {fault})
    assert refused(migrated.read, "DB.mm_fills_rejected") == Counter(
        {canonical(item.value): 1 for item in account.junk}
    )
    assert_ledger_adds_up(migrated)
    calm = serve(account, cutoff=cutoff, limits=UNLIMITED)
    again = cli(
        "sync", "--full", "--same-account", "--format", "json", url=migrated.url, api=calm.url
    )
    assert again.json["stages"]["n_inserted"] == 0


def assert_ledger_adds_up(target: Target) -> None:
    odd = target.read(
        "SELECT run_id FROM DB.mm_fills_runs FINAL WHERE status = 'done' AND NOT ("
        "n_api = n_inserted + n_known + n_duplicate + n_rejected "
        "AND n_inserted = n_new + n_corrected)"
    )
    assert odd == []


@pytest.mark.torture
@pytest.mark.timeout(900)
def test_answers_that_come_after_the_client_has_given_up_cost_time_only(
    cli: Cli, migrated: Target, serve: Serve, now: datetime
) -> None:
    account, cutoff = years(3_000, now)
    faults = Faults(slow=0.15, slow_seconds=25, seed=3)
    exchange = serve(account, cutoff=cutoff, limits=UNLIMITED, faults=faults, largest_page=300)

    done = cli("sync", url=migrated.url, api=exchange.url, timeout=600)

    assert done.code == 3, done.err
    assert faults.injected["slow"] > 0
    assert_the_truth(stored(migrated), account, cutoff)


class Market:
    """Trades all the time; a part of the fills shows up late in the listing."""

    def __init__(self, bench: Bench, per_second: int) -> None:
        rng = random.Random(50)
        self._bench = bench
        self._late: list[tuple[datetime, PracticeFill]] = []
        self.fills: list[PracticeFill] = []
        """What the exchange has listed so far."""
        for number in range(per_second * 600):
            at = NOW + SECOND * number / per_second
            seen = at + (90 * SECOND if rng.random() < 0.05 else 0 * SECOND)
            self._late.append((seen, fill_at(at, number)))
        self._late.sort(key=lambda entry: entry[0], reverse=True)

    def trade(self, until: datetime) -> None:
        """List what has happened by then, and set the clock to it."""
        new = []
        while self._late and self._late[-1][0] <= until:
            new.append(self._late.pop()[1])
        self._bench.exchange.add(new)
        self.fills += new
        self._bench.clock.now = max(self._bench.clock.now, until)


def ten_syncs(bench: Bench, per_second: int) -> None:
    bench.serve(account_of(), largest_page=per_second * 10)
    market = Market(bench, per_second)
    read = 0
    for minute in range(1, 11):
        start = NOW + minute * MINUTE

        def meanwhile(report: SyncReport, start: datetime = start) -> None:
            market.trade(start + min(report.pages, 40) * SECOND / 2)

        market.trade(start)
        done = bench.run(overlap=2 * MINUTE, progress=meanwhile)
        assert not done.has_findings
        read += done.counts.n_api
    market.trade(NOW + 12 * MINUTE)
    last = bench.run(overlap=2 * MINUTE)

    assert len(market.fills) == per_second * 600
    assert last.counts.n_new > 0
    assert not last.has_findings
    everything = replace(account_of(), fills=market.fills)
    assert_the_truth(bench.rows(COLUMNS), everything)
    # It was the overlap that found them: nothing was read from the start each time.
    assert read < 5 * len(market.fills)
    assert bench.run(full=True).counts.n_inserted == 0


# Fills that come while syncs come and go


def test_fills_that_come_late_between_ten_syncs_are_all_stored(bench: Bench) -> None:
    ten_syncs(bench, per_second=4)


@pytest.mark.torture
def test_fifty_fills_a_second_that_come_late_between_ten_syncs_are_all_stored(
    bench: Bench,
) -> None:
    ten_syncs(bench, per_second=50)


ENDLESS = {
    "a cursor that repeats": ("repeat_cursor", "cursor"),
    "empty pages": ("empty_page", "nothing new"),
    "one page again and again": ("repeat_page", "nothing new"),
    "old fills under new cursors": ("endless_cursors", "nothing new"),
    "a page that never ends": ("endless_body", "send a page"),
}


# Listings without an end


@pytest.mark.sampled(2)
@pytest.mark.parametrize("what", ENDLESS)
def test_a_listing_without_an_end_is_given_up_and_moves_no_watermark(
    warehouse: Warehouse,
    tables: Any,
    api_key: Account,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    bench = Bench(warehouse, tables, api_key, serve)
    account = generate_account(6, 2_000, start=NOW - DAY, end=NOW - HOUR)
    bench.serve(account, largest_page=50)
    bench.run(until=NOW - 20 * HOUR)
    fault, sentence = ENDLESS[what]
    setattr(bench.faults, fault, 1.0)
    bench.clock.now = NOW + MINUTE
    asked, began = bench.exchange.requests.total(), time.monotonic()

    with monkeypatch.context() as patched:
        if fault == "endless_body":
            patched.setattr(wire_module, "ANSWER_SECONDS", 0.5)
        with pytest.raises(ExchangeError, match=sentence) as caught:
            bench.run()

    assert caught.value.exit_code == 4
    assert caught.value.hint
    assert time.monotonic() - began < 120
    assert bench.exchange.requests.total() - asked < 400
    assert bench.runs("status, watermark") == [
        ("done", NOW_FLOORED - 20 * HOUR),
        ("failed", None),
    ]
    assert sentence in bench.runs("error")[1][0]
    setattr(bench.faults, fault, 0.0)
    healed = bench.run()
    assert healed.window is not None
    assert healed.window.start == NOW_FLOORED - 21 * HOUR
    assert_the_truth(bench.rows(COLUMNS), account)


@pytest.mark.torture
@pytest.mark.timeout(900)
@pytest.mark.parametrize("what", ENDLESS)
def test_a_listing_without_an_end_is_given_up_within_the_budget(
    cli: Cli, migrated: Target, serve: Serve, now: datetime, what: str
) -> None:
    account = generate_account(6, 5_000, start=now - DAY, end=now - HOUR)
    fault, sentence = ENDLESS[what]
    exchange = serve(account, limits=UNLIMITED, faults=Faults(**{fault: 1.0}))
    began = time.monotonic()

    done = cli("sync", url=migrated.url, api=exchange.url, timeout=300)

    took = time.monotonic() - began
    print(f"{what}: given up after {took:.1f} s and {exchange.requests.total()} requests")
    assert sentence in assert_failed(done, 4)
    assert took < RetryBudget().seconds + 90  # the last attempt may take as long as a page may
    assert migrated.read("SELECT status, watermark FROM DB.mm_fills_runs FINAL") == [
        ("failed", None)
    ]
