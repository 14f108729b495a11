"""A pass of diagnose says what it proves, and what could not be compared never passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from support.diagnosing import Desk, assert_well, causes, check, engine_row, statuses
from support.legacy import make
from support.syncing import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    account_of,
    fill_at,
    one_day,
)

from kalshi_fills.practice.account import PracticeFill, generate_account
from kalshi_fills.practice.wire import Answer, Request, json_answer
from kalshi_fills.report.diagnose import diagnosis_json

embedded_only = pytest.mark.parametrize("warehouse", ["embedded"], indirect=True)
"""For tests of what is decided in Python; what the SQL says is tested on both engines."""

VOLUME = "volume_matches_api"


def answer(desk: Desk, path: str, how: Callable[[Request], Answer]) -> None:
    """Make the exchange answer a path in another way."""
    desk.exchange._private[path] = how


def empty(desk: Desk, *paths: str) -> None:
    """Make the exchange answer these listings with an empty 200, whatever is asked."""
    for path in paths:
        body = {"cursor": "", path.rpartition("/")[2]: [], "market_positions": []}
        answer(desk, path, lambda _, body=body: json_answer(200, body))  # type: ignore[misc]


FILLS = ("/portfolio/fills", "/historical/fills")
ORDERS = ("/portfolio/orders", "/historical/orders")


# How far the exchange's data reach


@embedded_only
@pytest.mark.parametrize("missing", [False, True])
def test_data_older_than_the_window_prove_nothing(desk: Desk, missing: bool) -> None:
    account = one_day(30)
    desk.healthy(account)
    if missing:
        desk.delete(*account.fills[:5])
    desk.serve(account, as_of_lag_seconds=25 * 3600)

    found = desk.diagnose()

    volume = check(found, VOLUME)
    assert volume.status == "skip"
    assert "Nothing could be compared" in volume.explanation
    assert found.verdict == "warn"
    assert "nothing could be compared" in found.summary
    assert found.compared.as_dict() == {
        "fills": 0,
        "contracts": "0.00",
        "fees_dollars": "0.000000",
        "orders": 0,
        "positions": found.compared.positions,
        "settled_markets": 0,
    }
    assert any("25 hours behind the clock" in note for note in found.notes)
    since = volume.next.removeprefix("kalshi-fills diagnose --since ")
    start = datetime.fromisoformat(since)
    again = desk.diagnose(NOW - start)
    assert check(again, VOLUME).status == "warn"


@embedded_only
def test_a_window_cut_short_by_more_than_an_hour_is_a_warning(desk: Desk) -> None:
    account = one_day(60)
    desk.healthy(account)
    desk.delete(account.fills[0])
    desk.serve(account, as_of_lag_seconds=4 * 3600)

    found = desk.diagnose()

    volume = check(found, VOLUME)
    assert volume.status == "warn"
    assert "agree up to 2026-11-22T08:00:00Z" in volume.explanation
    assert found.verdict == "warn"
    assert any("complete up to 2026-11-22T08:00:00Z" in note for note in found.notes)
    compared = [fill for fill in account.fills if fill.executed_at_us < 1795334400500000]
    assert found.compared.fills == len(compared) < 60


@embedded_only
def test_a_window_cut_short_by_less_is_said_and_passes(desk: Desk) -> None:
    account = one_day(60)
    desk.healthy(account)
    desk.serve(account, as_of_lag_seconds=1800)

    found = desk.diagnose()

    assert_well(found)
    assert any("Compared up to 2026-11-22T11:30:00Z" in note for note in found.notes)


@embedded_only
def test_a_window_into_the_future_is_not_cut_short(desk: Desk) -> None:
    desk.healthy(one_day(30))

    assert_well(desk.diagnose(until=NOW + 5 * DAY))


# What a pass proves


def test_a_pass_says_what_it_proves(desk: Desk) -> None:
    account = generate_account(9, 120, start=NOW - 20 * HOUR, end=NOW - HOUR, eras="current")
    desk.healthy(account, cutoff=NOW - 10 * HOUR, orders_cutoff=NOW - 9 * HOUR)
    contracts = sum(fill.count for fill in account.fills)
    fees = sum(fill.fee for fill in account.fills)
    positions = account.positions(at_us=int(NOW.timestamp() * 1e6))
    assert positions

    found = desk.diagnose()

    assert_well(found)
    assert found.compared.as_dict() == {
        "fills": 120,
        "contracts": f"{contracts:.2f}",
        "fees_dollars": f"{fees:.6f}",
        "orders": len({fill.order_id for fill in account.fills}),
        "positions": len(positions),
        "settled_markets": 0,
    }
    told = diagnosis_json(found)
    assert told["compared"] == found.compared.as_dict()
    observed = check(found, VOLUME).observed
    assert observed.startswith("exchange 120, table 120; compared: 120 fills, ")
    assert f"{contracts:.2f} contracts, {fees:.6f} dollars of fees" in observed
    assert f"{len(positions)} positions agree" in observed


@embedded_only
def test_offline_nothing_was_compared(desk: Desk) -> None:
    desk.healthy(one_day(10))

    told = diagnosis_json(desk.diagnose(offline=True))

    assert told["compared"] == {
        "fills": 0,
        "contracts": "0.00",
        "fees_dollars": "0.000000",
        "orders": 0,
        "positions": 0,
        "settled_markets": 0,
    }


@embedded_only
def test_of_an_old_table_only_numbers_are_compared(desk: Desk) -> None:
    account = one_day(20, eras="legacy")
    rows = []
    for fill in account.fills:
        row = engine_row(fill, raw_json=fill.payload_json("legacy"))
        row |= {"price": float(fill.yes_price), "fee": 0.0, "size": float(fill.count)}
        rows.append(row | {"price_cents": 1})
    make(desk.warehouse, desk.tables, rows=rows)
    desk.serve(account)

    volume = check(desk.diagnose(), VOLUME)

    assert volume.status == "pass"
    assert "fill by fill" not in volume.explanation
    assert "number of rows of" in volume.observed


# What lists nothing


@pytest.mark.parametrize("removed", [False, True])
def test_an_exchange_in_maintenance_proves_nothing(desk: Desk, removed: bool) -> None:
    account = one_day(30)
    desk.healthy(account, cutoff=NOW - 12 * HOUR)
    if removed:
        desk.delete(*account.fills)
    empty(desk, *FILLS, *ORDERS, "/portfolio/positions")

    found = desk.diagnose()

    assert check(found, VOLUME).status == "skip"
    assert "lists not one fill" in check(found, VOLUME).explanation
    assert found.breaks == []
    assert found.verdict == "warn"
    assert "exchange_withdrew_fills" not in causes(found)
    if removed:  # and when it is back, they are missing
        desk.serve(account)
        assert len(desk.diagnose().breaks) == 30


@embedded_only
def test_fills_alone_in_maintenance_prove_nothing(desk: Desk) -> None:
    desk.healthy(one_day(30))
    empty(desk, *FILLS)

    found = desk.diagnose()

    assert (found.verdict, check(found, VOLUME).status) == ("warn", "skip")
    assert found.breaks == []


@embedded_only
@pytest.mark.parametrize("tier", FILLS)
def test_one_tier_in_maintenance_is_not_compared(desk: Desk, tier: str) -> None:
    account = one_day(60)
    desk.healthy(account, cutoff=NOW - 12 * HOUR)
    empty(desk, tier)

    found = desk.diagnose()

    assert found.breaks == []
    assert (found.verdict, check(found, VOLUME).status) == ("warn", "warn")
    assert "not one fill" in check(found, VOLUME).explanation
    assert 0 < found.compared.fills < 60


@embedded_only
def test_a_listing_that_is_empty_only_when_asked_with_times_proves_nothing(desk: Desk) -> None:
    account = one_day(30)
    desk.migrate()
    desk.serve(account)
    for path in FILLS:
        inner = desk.exchange._private[path]

        def blind(request: Request, inner: Callable[[Request], Answer] = inner) -> Answer:
            asked = "max_ts" in request.query
            return json_answer(200, {"cursor": "", "fills": []}) if asked else inner(request)

        answer(desk, path, blind)

    found = desk.diagnose()

    assert (found.verdict, check(found, VOLUME).status) == ("warn", "skip")


@embedded_only
def test_an_account_that_never_traded_proves_nothing(desk: Desk) -> None:
    desk.healthy(account_of())

    found = desk.diagnose()

    assert (found.verdict, check(found, VOLUME).status) == ("warn", "skip")
    assert causes(found) == []


@embedded_only
def test_a_quiet_window_of_an_account_that_trades_passes(desk: Desk) -> None:
    desk.healthy(account_of(fill_at(NOW - 5 * DAY)))

    found = desk.diagnose()

    assert_well(found)
    assert "exchange 0, table 0" in check(found, VOLUME).observed


@embedded_only
def test_rows_that_no_sync_wrote_need_no_fill_to_be_wrong(desk: Desk) -> None:
    desk.healthy(account_of())
    desk.write(engine_row(fill_at(NOW - HOUR), fill_id="made-up"))

    found = desk.diagnose()

    assert check(found, VOLUME).status == "fail"
    assert causes(found) == ["non_fills_written_as_fills"]


def refused(status: int) -> Callable[[Request], Answer]:
    return lambda _: json_answer(status, {"error": {"code": "no", "message": "no"}})


def renamed(inner: Callable[[Request], Answer], key: str) -> Callable[[Request], Answer]:
    """Make the exchange call a key by another name."""

    def answered(request: Request) -> Answer:
        given = inner(request)
        chunks = [chunk.replace(key.encode(), b"renamed_" + key.encode()) for chunk in given.chunks]
        return replace(given, chunks=chunks)

    return answered


@embedded_only
@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize("path", ["/portfolio/orders", "/portfolio/positions"])
def test_a_leg_that_is_refused_is_said_and_warned_of(desk: Desk, path: str, status: int) -> None:
    desk.healthy(one_day(30))
    answer(desk, path, refused(status))

    found = desk.diagnose()

    assert (found.verdict, check(found, VOLUME).status) == ("warn", "warn")
    assert path.rpartition("/")[2] in check(found, VOLUME).explanation.lower()
    assert found.compared.fills == 30


@embedded_only
@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/portfolio/orders", "fill_count_fp"),
        ("/portfolio/orders", "order_id"),
        ("/portfolio/orders", "created_time"),
        ("/portfolio/positions", "position_fp"),
    ],
)
def test_a_leg_whose_keys_were_renamed_is_warned_of(desk: Desk, path: str, key: str) -> None:
    desk.healthy(one_day(30))
    answer(desk, path, renamed(desk.exchange._private[path], key))

    found = desk.diagnose()

    assert (found.verdict, check(found, VOLUME).status) == ("warn", "warn")
    assert "could not be" in check(found, VOLUME).explanation


@embedded_only
def test_renamed_fees_of_orders_make_no_break(desk: Desk) -> None:
    desk.healthy(one_day(30))
    path = "/portfolio/orders"
    answer(desk, path, renamed(desk.exchange._private[path], "maker_fees_dollars"))

    assert desk.diagnose().breaks == []


@embedded_only
def test_orders_that_are_not_listed_at_all_are_warned_of(desk: Desk) -> None:
    desk.healthy(one_day(30))
    empty(desk, *ORDERS)

    found = desk.diagnose()

    assert (found.verdict, check(found, VOLUME).status) == ("warn", "warn")
    assert "lists none" in check(found, VOLUME).explanation


@embedded_only
def test_a_window_whose_orders_are_all_older_passes(desk: Desk) -> None:
    old = fill_at(NOW - 3 * HOUR)
    desk.healthy(account_of(old, replace(old, fill_id="later", executed_at_us=old.executed_at_us)))
    (order,) = {fill.order_id for fill in (old,)}
    desk.exchange.change_order(order, created_at_us=old.executed_at_us - 5 * 86_400 * 10**6)

    found = desk.diagnose()

    assert_well(found)


@embedded_only
def test_old_orders_without_an_archive_are_said(desk: Desk) -> None:
    account = generate_account(9, 80, start=NOW - 40 * DAY, end=NOW - HOUR, eras="current")
    desk.healthy(account, cutoff=NOW - 60 * DAY, orders_cutoff=NOW - 14 * DAY)
    answer(desk, "/historical/orders", refused(404))

    assert_well(desk.diagnose())
    found = desk.diagnose(30 * DAY)

    assert check(found, VOLUME).status == "warn"
    assert "no archive" in check(found, VOLUME).explanation


# What is pending


def test_what_a_sync_was_not_asked_for_is_missing_and_not_pending(desk: Desk) -> None:
    account = one_day(22)
    desk.migrate()
    desk.serve(account)
    desk.run(until=NOW - 12 * HOUR)
    held = len(desk.fills())
    assert 0 < held < 22

    found = desk.diagnose()

    assert (found.verdict, check(found, VOLUME).status) == ("fail", "fail")
    assert len(found.breaks) == 22 - held
    assert {one.kind for one in found.breaks} == {"missing"}
    assert causes(found) == ["fills_missing"]
    assert found.root_cause.next == "kalshi-fills sync"
    desk.run()
    assert_well(desk.diagnose())


@embedded_only
def test_what_is_newer_than_the_window_of_a_late_sync_is_pending_and_said(desk: Desk) -> None:
    desk.healthy(one_day(20))
    desk.clock.now = NOW + 90 * MINUTE
    desk.exchange.add(fill_at(NOW + number * MINUTE, number) for number in (1, 50, 89))

    found = desk.diagnose()

    assert_well(found)
    assert "3 pending" in check(found, VOLUME).observed
    assert "3 newer than the last sync" in check(found, VOLUME).explanation
    assert found.compared.fills == 20
    desk.clock.now = NOW + 121 * MINUTE
    assert check(desk.diagnose(), VOLUME).status == "fail"


@embedded_only
def test_a_fill_of_the_window_is_missing_though_the_watermark_was_held(desk: Desk) -> None:
    """A break that an earlier run left holds the watermark, not what its window covered."""
    account = one_day(20)
    desk.healthy(account)
    desk.ledger("done", 10 * MINUTE, finished_at=NOW - 9 * MINUTE, watermark=NOW - 20 * HOUR)
    desk.delete(account.fills[3])

    assert [one.kind for one in desk.diagnose().breaks] == ["missing"]


@embedded_only
def test_an_old_range_read_again_makes_nothing_pending(desk: Desk) -> None:
    account = one_day(20)
    desk.healthy(account)
    desk.run(since=NOW - 20 * HOUR, until=NOW - 15 * HOUR)
    desk.delete(account.fills[3])

    assert [one.kind for one in desk.diagnose().breaks] == ["missing"]


@embedded_only
def test_after_a_truncate_by_hand_nothing_is_pending(desk: Desk) -> None:
    account = one_day(20)
    desk.healthy(account)
    desk.warehouse.command(f"TRUNCATE TABLE {desk.tables.name()}")

    found = desk.diagnose()

    assert found.verdict == "fail"
    assert len(found.breaks) == 20


@embedded_only
def test_a_sync_of_hours_leaves_pending_what_came_meanwhile(desk: Desk) -> None:
    desk.healthy(one_day(20))
    desk.clock.now = NOW + 5 * HOUR
    desk.ledger("done", 4 * HOUR, finished_at=NOW + 5 * HOUR - MINUTE, watermark=NOW + HOUR)
    desk.exchange.add([fill_at(NOW + 2 * HOUR)])

    found = desk.diagnose()

    assert_well(found)
    assert "1 pending" in check(found, VOLUME).observed


@embedded_only
def test_what_the_exchange_lists_late_comes_with_the_next_sync(desk: Desk) -> None:
    """It was traded before the sync's window ended, and after what the exchange called complete."""
    account = one_day(20)
    desk.migrate()
    desk.serve(account, as_of_lag_seconds=30)
    desk.run()
    desk.clock.now = NOW + MINUTE
    desk.exchange.add([fill_at(NOW - 10 * SECOND)])

    found = desk.diagnose()

    assert_well(found)
    assert "1 pending" in check(found, VOLUME).observed


# Trading by the clock


def clockwork(**more: Any) -> list[PracticeFill]:
    return [
        fill_at(NOW - 2 * HOUR + number * 10 * SECOND, number, order_id=f"order-{number}", **more)
        for number in range(360)
    ]


@embedded_only
def test_trading_by_the_clock_is_a_warning_where_every_fill_agrees(desk: Desk) -> None:
    desk.healthy(account_of(*clockwork()))

    found = desk.diagnose()

    assert statuses(found)["no_periodic_cadence"] == "warn"
    assert statuses(found)[VOLUME] == "pass"
    assert found.verdict == "warn"
    assert causes(found) == []
    assert "timed" in found.root_cause.explanation


@embedded_only
@pytest.mark.parametrize("why", ["missing", "offline", "stale", "maintenance", "restricted"])
def test_a_cadence_that_no_fill_proves_fails(desk: Desk, why: str) -> None:
    fills = clockwork()
    desk.healthy(account_of(*fills))
    if why == "missing":
        desk.delete(fills[7])
    if why == "stale":
        desk.serve(account_of(*fills), as_of_lag_seconds=30 * 3600)
    if why == "maintenance":
        empty(desk, *FILLS)
    if why == "restricted":
        desk.serve(account_of(*fills), restricted_subaccount=0)

    found = desk.diagnose(offline=why == "offline")

    assert statuses(found)["no_periodic_cadence"] == "fail"
    assert found.verdict == "fail"


# What happens while it reads


@embedded_only
def test_a_fill_traded_long_after_it_began_is_a_fill(desk: Desk) -> None:
    """A diagnosis of a large account takes longer than the tolerance of the clock's gate."""
    one = fill_at(NOW - HOUR)
    other = replace(one, fill_id="other", order_id="other", subaccount=1)
    desk.healthy(account_of(one, other))
    late = replace(
        other,
        fill_id="late",
        order_id="late",
        count=Decimal("3.00"),
        executed_at_us=int((NOW + 30 * MINUTE).timestamp() * 1e6),
    )

    def trade(path: str) -> None:
        if path == "/historical/orders" and desk.clock.now == NOW:
            desk.clock.now = NOW + 31 * MINUTE
            desk.exchange.add([late])

    assert_well(desk.diagnose(after=trade))
    assert desk.clock.now > NOW


@embedded_only
def test_an_order_updated_after_what_is_complete_is_pending(desk: Desk) -> None:
    account = one_day(30)
    desk.healthy(account)
    desk.serve(account, as_of_lag_seconds=300)
    (order,) = [one for one in account.orders() if one.order_id == account.fills[3].order_id]
    updated = int((NOW - MINUTE).timestamp() * 1e6)
    desk.exchange.change_order(
        order.order_id, fill_count=order.fill_count + 3, updated_at_us=updated
    )

    found = desk.diagnose()

    assert_well(found)
    assert "1 order pending" in check(found, VOLUME).observed
    before = int((NOW - HOUR).timestamp() * 1e6)
    desk.exchange.change_order(
        order.order_id, fill_count=order.fill_count + 3, updated_at_us=before
    )
    assert [one.scope for one in desk.diagnose().breaks] == ["order"]


@embedded_only
def test_an_update_hides_no_missing_fill_of_the_order(desk: Desk) -> None:
    account = one_day(30)
    desk.healthy(account)
    desk.serve(account, as_of_lag_seconds=300)
    updated = int((NOW - MINUTE).timestamp() * 1e6)
    desk.exchange.change_order(account.fills[3].order_id, updated_at_us=updated)
    desk.delete(account.fills[3])

    found = desk.diagnose()

    assert [(one.kind, one.fill_id) for one in found.breaks] == [
        ("missing", account.fills[3].fill_id)
    ]
