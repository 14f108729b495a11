"""Settled markets: what the exchange settled proves fills of any age, online and offline."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from support.diagnosing import Desk, assert_well, causes, check
from support.syncing import DAY, HOUR, MINUTE, NOW, account_of, fill_at

from kalshi_fills.diagnose.run import Diagnosis, settled_markets_differing
from kalshi_fills.practice.account import PracticeAccount, PracticeFill, generate_account
from kalshi_fills.practice.ledger import to_us
from kalshi_fills.practice.settlements import MarketSettlement, summed_by_market

SETTLED = "settled_markets_match"
EARLY = "KXOLD-26NOV22-T1"
OTHER = "KXOLD-26NOV22-T2"

embedded_only = pytest.mark.parametrize("warehouse", ["embedded"], indirect=True)
"""For tests of what is decided in Python; what the SQL says is tested on both engines."""


def old_account(*more: PracticeFill) -> PracticeAccount:
    """Return an account whose fills are weeks old and whose markets settled an hour ago."""
    fills = [
        fill_at(NOW - 30 * DAY, 1, ticker=EARLY),
        fill_at(NOW - 29 * DAY, 2, ticker=EARLY, outcome_side="no", count=Decimal("3.25")),
        fill_at(NOW - 28 * DAY, 3, ticker=EARLY, count=Decimal("0.01"), fee=Decimal("0.000001")),
        fill_at(NOW - 27 * DAY, 4, ticker=OTHER, outcome_side="no"),
        *more,
    ]
    account = account_of(*fills)
    for ticker, result, payout in ((EARLY, "yes", 100), (OTHER, "scalar", 37)):
        settle(account, ticker, NOW - HOUR, result, payout)
    return account


def settle(
    account: PracticeAccount, ticker: str, at: datetime, result: str = "yes", payout: int = 100
) -> None:
    account.settles_at_us[ticker] = to_us(at)
    account.settlements[ticker] = MarketSettlement(to_us(at), result, payout)


def settled_breaks(found: Diagnosis) -> list[tuple[str | None, str | None, object, object]]:
    assert {one.scope for one in found.breaks} <= {"settlement"}
    assert all(one.kind == "mismatch" for one in found.breaks)
    return [(one.market_ticker, one.field, one.exchange, one.table) for one in found.breaks]


def run_next(desk: Desk, command: str) -> None:
    """Run the command that a diagnosis names."""
    if command.startswith("by hand: "):
        desk.warehouse.command(command.removeprefix("by hand: "))
        return
    words = shlex.split(command)
    assert words[:2] == ["kalshi-fills", "sync"], command
    if words[2:] == ["--full"]:
        desk.run(full=True)
        return
    assert words[2] == "--since"
    desk.run(since=datetime.fromisoformat(words[3]).replace(tzinfo=NOW.tzinfo))


def double(desk: Desk, fill: PracticeFill) -> None:
    desk.warehouse.command(
        f"INSERT INTO {desk.tables.name()} SELECT * REPLACE ('another-id' AS fill_id) FROM (SELECT "
        f"* FROM {desk.tables.name()} FINAL WHERE fill_id = {{id:String}})",
        {"id": fill.fill_id},
    )


DAMAGES: dict[str, tuple[Callable[[Desk, PracticeFill], None], str, set[str]]] = {
    "removed": (lambda desk, fill: desk.delete(fill), "fills_missing", {"count", "fee"}),
    "doubled": (double, "same_fills_inserted_again", {"count", "fee"}),
    "size": (lambda desk, fill: desk.change(fill, "size = size + 0.01"), "rows_altered", {"count"}),
    "smaller": (
        lambda desk, fill: desk.change(fill, "size = size - 0.01"),
        "rows_altered",
        {"count"},
    ),
    "fee": (
        lambda desk, fill: desk.change(fill, "fee_dollars = fee_dollars + 0.000001"),
        "rows_altered",
        {"fee"},
    ),
}


@pytest.mark.parametrize(("place", "offline"), [(0, True), (1, False)])
def test_a_settled_market_names_what_is_wrong_with_a_fill_of_weeks_ago(
    desk: Desk, place: int, offline: bool
) -> None:
    account = old_account()
    desk.healthy(account)
    fill = [one for one in reversed(account.fills) if one.ticker == EARLY][place]
    count = "yes_count_fp" if fill.outcome_side == "yes" else "no_count_fp"
    wrong = {"count": count, "fee": "fee_cost"}
    assert_well(desk.diagnose(offline=offline))

    for damage, cause, fields in DAMAGES.values():
        damage(desk, fill)
        found = desk.diagnose(offline=offline)

        assert found.verdict == "fail"
        assert {(one.market_ticker, one.field) for one in found.breaks} == {
            (EARLY, wrong[name]) for name in fields
        }
        assert all(one.exchange != one.table for one in found.breaks)
        assert len(settled_breaks(found)) == len(fields)
        if offline:
            assert settled_markets_differing(desk.warehouse, desk.tables, NOW) == 1
        assert causes(found) == [cause]
        assert check(found, SETTLED).status == "fail"
        assert check(found, SETTLED).next == found.root_cause.next
        assert [one.name for one in found.checks if one.status == "fail"] == [SETTLED]
        run_next(desk, found.root_cause.next)
        assert_well(desk.diagnose(offline=offline))


def test_what_agrees_is_counted_online_and_offline(desk: Desk) -> None:
    account = generate_account(9, 300, start=NOW - 5 * DAY, end=NOW - HOUR, eras="current")
    account = account.settled(0.8)
    desk.healthy(account)
    now_us = to_us(NOW)
    settled = {one for one, market in account.settlements.items() if market.settled_at_us <= now_us}
    settled &= {fill.ticker for fill in account.fills}
    assert settled

    online, offline = desk.diagnose(6 * DAY), desk.diagnose(offline=True)

    for found in (online, offline):
        assert_well(found)
        assert check(found, SETTLED).status == "pass"
        assert found.compared.settled_markets == len(settled)
        assert f"{len(settled):,} settled markets agree" in check(found, SETTLED).observed
        assert not any("settlement" in note for note in found.notes)
    assert settled_markets_differing(desk.warehouse, desk.tables, NOW) == 0
    lately = [one for one in settled if account.settlements[one].settled_at_us >= to_us(NOW - DAY)]
    assert desk.diagnose().compared.settled_markets == len(lately) < len(settled)


def test_a_table_without_settlements_skips_the_check(desk: Desk) -> None:
    desk.healthy(account_of(fill_at(NOW - 2 * HOUR)))

    for found in (desk.diagnose(), desk.diagnose(offline=True)):
        assert_well(found)
        assert check(found, SETTLED).status == "skip"
        assert found.compared.settled_markets == 0


@embedded_only
def test_a_fill_break_of_the_window_explains_its_market(desk: Desk) -> None:
    account = old_account(fill_at(NOW - 5 * HOUR, 9, ticker=EARLY))
    desk.healthy(account)
    desk.delete(account.fills[0])

    found = desk.diagnose()

    assert [(one.scope, one.kind) for one in found.breaks] == [("fill", "missing")]
    assert "1 differs by fills that are named" in check(found, SETTLED).observed
    desk.delete(account.fills[1])  # of weeks ago: no fill break explains it
    found = desk.diagnose()
    assert {one.scope for one in found.breaks} == {"fill", "settlement"}
    run_next(desk, found.root_cause.next)
    assert_well(desk.diagnose(40 * DAY))


def test_subaccounts_are_added_up_and_transfers_explained(desk: Desk) -> None:
    account = old_account(
        fill_at(NOW - 20 * DAY, 11, ticker=EARLY, subaccount=1),
        fill_at(NOW - 20 * DAY, 12, ticker=EARLY, subaccount=2, outcome_side="no"),
    )
    desk.healthy(account)
    assert_well(desk.diagnose())

    # Contracts were moved from subaccount 0 to 1, and the exchange settled them there.
    for number, contracts in ((0, "7.01"), (1, "13.00")):
        desk.exchange.portfolio.correct(EARLY, number, yes_count_fp=contracts)
    found = desk.diagnose()
    assert found.breaks == []
    assert any("moved between subaccounts" in note for note in found.notes)
    assert check(found, SETTLED).status == "pass"

    desk.exchange.portfolio.correct(EARLY, 1, yes_count_fp="13.01")
    found = desk.diagnose()
    assert settled_breaks(found) == [(EARLY, "yes_count_fp", Decimal("20.02"), Decimal("20.01"))]
    assert found.root_cause.name == "none"  # the exchange's fills do not add up to it either
    assert "own fills" in found.root_cause.explanation

    for number, contracts in ((0, "10.01"), (1, "10.00")):
        desk.exchange.portfolio.correct(EARLY, number, yes_count_fp=contracts)
    assert_well(desk.diagnose())
    desk.exchange.portfolio.correct(EARLY, 2, no_count_fp="10.01")
    found = desk.diagnose()
    assert [(one.field, one.exchange - one.table) for one in found.breaks] == [  # type: ignore[operator]
        ("no_count_fp", Decimal("0.01"))
    ]
    assert check(found, SETTLED).observed == f"1 settled market agrees; 1 differs: {EARLY}"


@embedded_only
def test_unknown_fees_are_not_compared(desk: Desk) -> None:
    fills = [fill_at(NOW - 30 * DAY, 1, ticker=EARLY), fill_at(NOW - 29 * DAY, 2, ticker=OTHER)]
    account = replace(account_of(*fills), eras="legacy")
    for ticker in (EARLY, OTHER):
        settle(account, ticker, NOW - HOUR)
    desk.healthy(account)

    for found in (desk.diagnose(), desk.diagnose(offline=True)):
        assert_well(found)
        assert found.compared.settled_markets == 2


@embedded_only
def test_costs_and_revenue_are_notes(desk: Desk) -> None:
    desk.healthy(old_account())
    desk.exchange.portfolio.correct(EARLY, 0, revenue=12345, yes_total_cost_dollars="9.000000")
    found = desk.diagnose()
    desk.run()
    stored = desk.diagnose(offline=True)

    for one in (found, stored):
        assert_well(one)
        assert sum(EARLY in note for note in one.notes) == 2
        assert any("revenue" in note for note in one.notes)
        assert any("costs" in note for note in one.notes)


@embedded_only
def test_a_market_that_settled_after_the_last_sync_is_waited_for(desk: Desk) -> None:
    account = old_account()
    desk.healthy(account)
    desk.clock.now = NOW + 50 * MINUTE
    desk.exchange.add([fill_at(NOW + 20 * MINUTE, 21, ticker="KXNEW-T1")])
    settle(account, "KXNEW-T1", NOW + 30 * MINUTE)
    desk.exchange.portfolio.forget()

    found = desk.diagnose()

    assert_well(found)
    assert "1 pending" in check(found, SETTLED).observed
    desk.clock.now = NOW + 5 * HOUR  # and now it should have been stored
    assert desk.diagnose().verdict == "fail"


@embedded_only
def test_a_fill_that_is_listed_after_the_settlement_is_waited_for(desk: Desk) -> None:
    desk.healthy(old_account())
    desk.clock.now = NOW + 50 * MINUTE
    desk.exchange.add([fill_at(NOW + 20 * MINUTE, 21, ticker=EARLY)])

    found = desk.diagnose()

    assert_well(found)
    assert "1 pending" in check(found, SETTLED).observed


@embedded_only
def test_a_later_correction_counts_online_and_once_synced_offline(desk: Desk) -> None:
    account = old_account()
    desk.healthy(account)
    desk.exchange.portfolio.correct(OTHER, 0, no_count_fp="11.00")

    assert_well(desk.diagnose(offline=True))
    online = desk.diagnose()
    desk.run()
    offline = desk.diagnose(offline=True)

    for found in (online, offline):
        assert settled_breaks(found) == [(OTHER, "no_count_fp", Decimal("11.00"), Decimal("10.00"))]
    desk.exchange.portfolio.correct(OTHER, 0, no_count_fp="10.00")
    desk.run()
    assert_well(desk.diagnose(offline=True))


@embedded_only
@pytest.mark.parametrize("status", [403, 404])
def test_where_the_list_is_refused_what_is_stored_is_compared(desk: Desk, status: int) -> None:
    account = old_account()
    desk.healthy(account)
    desk.exchange.portfolio.refuse_with = status
    assert_well(desk.diagnose())
    assert desk.diagnose().compared.settled_markets == 2
    desk.delete(account.fills[0])

    found = desk.diagnose()

    assert [(one.market_ticker, one.field) for one in found.breaks] == [
        (OTHER, "no_count_fp"),
        (OTHER, "fee_cost"),
    ]
    assert any("that are stored were compared" in note for note in found.notes)
    run_next(desk, found.root_cause.next)
    assert_well(desk.diagnose())


@embedded_only
def test_a_market_without_a_row_is_unknown(desk: Desk) -> None:
    account = old_account()
    desk.migrate()
    desk.serve(account)
    desk.exchange.portfolio.hide(OTHER)
    desk.run()
    desk.delete(next(fill for fill in account.fills if fill.ticker == OTHER))

    assert_well(desk.diagnose())
    assert desk.diagnose(offline=True).compared.settled_markets == 1


@embedded_only
def test_the_exchange_in_maintenance_alters_nothing_of_what_is_stored(desk: Desk) -> None:
    account = old_account()
    desk.healthy(account)
    desk.delete(account.fills[0])
    desk.serve(account_of())

    found = desk.diagnose(60 * DAY)

    assert [(one.scope, one.market_ticker) for one in found.breaks] == 2 * [("settlement", OTHER)]
    assert causes(found) == ["fills_missing"]


@embedded_only
def test_thousands_of_markets_that_differ_are_named_up_to_the_limit(desk: Desk) -> None:
    fills = [
        fill_at(NOW - 20 * DAY + number * MINUTE, number, ticker=f"KXMANY-{number}")
        for number in range(1, 121)
    ]
    account = account_of(*fills)
    for fill in fills:
        settle(account, fill.ticker, NOW - HOUR)
    desk.healthy(account)
    desk.delete(*fills[:110])

    for found in (desk.diagnose(), desk.diagnose(offline=True)):
        assert "10 settled markets agree; 110 differ" in check(found, SETTLED).observed
        assert len({one.market_ticker for one in found.breaks}) == 110
    assert desk.exchange.requests["/portfolio/settlements"] < 80
    run_next(desk, found.root_cause.next)
    assert_well(desk.diagnose())


def test_a_key_of_one_subaccount_makes_no_good_row_suspect(desk: Desk) -> None:
    account = old_account(fill_at(NOW - 20 * DAY, 11, ticker=EARLY, subaccount=1))
    desk.healthy(account)
    desk.delete(next(fill for fill in account.fills if fill.subaccount == 0))
    desk.serve(account, restricted_subaccount=1)

    found = desk.diagnose()

    assert check(found, SETTLED).status == "fail"
    assert "fills_missing" in causes(found)
    assert "exchange_withdrew_fills" not in causes(found)
    assert "by hand" not in check(found, SETTLED).next


def test_a_market_of_a_settled_subaccount_is_held_against_its_own_fills(desk: Desk) -> None:
    """What is settled of one subaccount says nothing of another's."""
    account = old_account(fill_at(NOW - 20 * DAY, 11, ticker=EARLY, subaccount=1))
    desk.healthy(account)
    desk.warehouse.command(
        f"ALTER TABLE {desk.tables.name('_settlements')} DELETE WHERE subaccount_number = 1 "
        "SETTINGS mutations_sync = 2"
    )

    assert_well(desk.diagnose(offline=True))
    desk.change(next(fill for fill in account.fills if fill.subaccount == 0), "size = size + 1")
    assert desk.diagnose(offline=True).verdict == "fail"


def test_a_window_of_the_past_asks_for_its_own_markets(desk: Desk) -> None:
    account = old_account(fill_at(NOW - 20 * DAY, 11, ticker="KXPAST-T1"))
    settle(account, "KXPAST-T1", NOW - 10 * DAY)
    desk.healthy(account)
    desk.delete(next(fill for fill in account.fills if fill.ticker == "KXPAST-T1"))

    assert_well(desk.diagnose())
    found = desk.diagnose(12 * DAY, NOW - 8 * DAY)
    assert {one.market_ticker for one in found.breaks} == {"KXPAST-T1"}
    assert_well(desk.diagnose(timedelta(days=7)))


@pytest.mark.parametrize("offline", [True, False])
def test_an_exchange_that_lists_the_same_settlements_for_each_subaccount_is_told_of(
    desk: Desk, offline: bool
) -> None:
    account = account_of(
        *(
            replace(fill_at(NOW - 3 * DAY, at, ticker=f"KXOLD-{at // 2}"), subaccount=at % 2)
            for at in range(8)
        )
    )
    for ticker in {fill.ticker for fill in account.fills}:
        settle(account, ticker, NOW - HOUR)
    desk.healthy(account)
    twins = desk.diagnose(offline=offline)  # each market alike in both, and rightly so
    assert_well(twins)
    assert not any("for several subaccounts" in note for note in twins.notes)

    portfolio = desk.exchange.portfolio
    for row in summed_by_market(portfolio.rows()):
        portfolio.hide(row.ticker)
        portfolio.insert_item(row.payload(), NOW - HOUR)
    desk.run(full=True)
    found = desk.diagnose(offline=offline)
    assert_well(found)
    (note,) = [note for note in found.notes if "for several subaccounts" in note]
    assert note.startswith("4 settled markets, such as KXOLD-0,")
