"""Each root cause, made on purpose, is the one that is named."""

from __future__ import annotations

import json
from datetime import datetime

from support.diagnoses import embedded_only, fill_break, side_of
from support.diagnosing import (
    Desk,
    assert_well,
    causes,
    check,
    engine_row,
)
from support.legacy import legacy_row
from support.syncing import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    claim,
    fill_at,
    one_day,
)


def test_a_healthy_account_has_no_cause(desk: Desk) -> None:
    desk.healthy(one_day(200))

    assert_well(desk.diagnose())
    assert_well(desk.diagnose(offline=True))


def test_schema_never_migrated_where_a_column_is_missing(desk: Desk) -> None:
    desk.healthy(one_day(50))
    desk.warehouse.command(f"ALTER TABLE {desk.tables.name()} DROP COLUMN exchange_index")

    found = desk.diagnose()

    assert causes(found) == ["schema_never_migrated"]
    assert "exchange_index" in " ".join(found.root_cause.evidence)
    assert found.root_cause.next == "kalshi-fills migrate"


def test_schema_never_migrated_where_there_is_no_table(desk: Desk) -> None:
    desk.serve(one_day(10))

    found = desk.diagnose()

    assert found.verdict == "fail"
    assert causes(found) == ["schema_never_migrated"]
    assert check(found, "schema_migrated").status == "fail"
    assert "no table" in check(found, "schema_migrated").observed
    assert "exchange 10, table 0" in check(found, "volume_matches_api").observed


def garbage(moment: datetime, number: int = 0, **changes: object) -> dict[str, object]:
    """Return an order as the broken engine wrote it: at price 0."""
    order = {"order_id": f"order-{number % 3}", "status": "resting", "remaining_count_fp": "5.00"}
    row = legacy_row(number, ts=moment, price_cents=0, size=0, raw_json=json.dumps(order))
    row |= {"exchange_order_id": f"order-{number % 3}"}
    del row["price"], row["fee"]
    return row | changes


def test_non_fills_written_as_fills(desk: Desk) -> None:
    desk.healthy(one_day(50))
    desk.write(*(garbage(NOW - HOUR - number * SECOND, number) for number in range(0, 600, 7)))

    found = desk.diagnose()

    assert causes(found) == ["non_fills_written_as_fills"]
    assert "payload: order" in " ".join(found.root_cause.evidence)
    assert found.root_cause.next == "kalshi-fills truncate --garbage"
    assert causes(desk.diagnose(offline=True)) == ["non_fills_written_as_fills"]


@embedded_only
def test_non_fills_at_a_real_price_are_named_by_their_payload(desk: Desk) -> None:
    desk.healthy(one_day(50))
    desk.write(garbage(NOW - HOUR, price_cents=41, size=5))

    found = desk.diagnose()

    assert causes(found) == ["non_fills_written_as_fills"]
    assert "order" in " ".join(found.root_cause.evidence)


def test_same_fills_inserted_again(desk: Desk) -> None:
    account = one_day(50)
    desk.healthy(account)
    for _ in range(3):
        desk.write(*map(engine_row, account.fills[:10]))

    found = desk.diagnose()

    assert causes(found) == ["same_fills_inserted_again"]
    assert "10 fills stand in 40 rows" in found.root_cause.evidence[0]
    assert found.root_cause.next == "kalshi-fills truncate --garbage"
    assert len(found.breaks) == 30
    assert {one.kind for one in found.breaks} == {"unexpected"}
    assert causes(desk.diagnose(offline=True)) == ["same_fills_inserted_again"]


def test_event_time_written_as_now(desk: Desk) -> None:
    account = one_day(50)
    wrong = account.fills[:8]
    desk.healthy(account)
    desk.delete(*wrong)
    desk.write(*(engine_row(fill, ts=NOW - 30 * MINUTE, fill_id=fill.fill_id) for fill in wrong))

    found = desk.diagnose()

    assert causes(found) == ["event_time_written_as_now"]
    assert "8 of 8 rows" in found.root_cause.evidence[0]
    assert found.root_cause.next.startswith("kalshi-fills sync")
    moved = [one for one in found.breaks if one.field == "ts"]
    assert {one.kind for one in found.breaks} == {"mismatch"}
    assert {one.fill_id for one in moved} == {fill.fill_id for fill in wrong}
    desk.run(full=True)
    assert_well(desk.diagnose())


def test_epoch_milliseconds_in_a_payload_are_no_wrong_time(desk: Desk) -> None:
    """An old engine kept the websocket's payload, whose only time is in milliseconds."""
    desk.healthy(one_day(20))
    fill = fill_at(NOW - 2 * HOUR)
    item = {
        "trade_id": fill.fill_id,
        "order_id": fill.order_id,
        "ts": fill.executed_at_us // 1000,
    }
    desk.write(engine_row(fill, fill_id=fill.fill_id, raw_json=json.dumps(item)))

    assert "event_time_written_as_now" not in causes(desk.diagnose())


def test_old_garbage_mixed_with_good_rows(desk: Desk) -> None:
    desk.healthy(one_day(50))
    desk.write(*(garbage(NOW - 9 * DAY - number * SECOND, number) for number in range(0, 600, 7)))

    found = desk.diagnose()

    assert causes(found) == ["old_garbage_mixed_with_good_rows"]
    assert check(found, "prices_valid").status == "fail"
    assert found.breaks == []
    assert found.root_cause.next == "kalshi-fills truncate --garbage"


def test_exchange_schema_changed_as_the_quarantine_tells(desk: Desk) -> None:
    account = one_day(50)
    desk.migrate()
    desk.serve(account)
    desk.exchange.insert_item(claim(NOW - 3 * HOUR), NOW - 3 * HOUR)
    desk.run()

    found = desk.diagnose()

    assert found.verdict == "fail"
    assert causes(found) == ["exchange_schema_changed"]
    assert "the exchange sends 1 of them" in " ".join(found.root_cause.evidence)
    assert "new_key_of_tomorrow" in " ".join(found.root_cause.evidence)
    assert found.breaks == []
    offline = desk.diagnose(offline=True)
    assert offline.verdict == "warn"
    assert causes(offline) == ["exchange_schema_changed"]
    desk.run(accept_rejected=True)
    assert_well(desk.diagnose())


@embedded_only
def test_exchange_schema_changed_before_any_sync_has_seen_it(desk: Desk) -> None:
    desk.healthy(one_day(50))
    desk.exchange.insert_item(claim(NOW - 3 * HOUR), NOW - 3 * HOUR)

    found = desk.diagnose()

    assert causes(found) == ["exchange_schema_changed"]
    assert found.verdict == "fail"


@embedded_only
def test_an_item_that_comes_twice_is_counted_once(desk: Desk) -> None:
    desk.healthy(one_day(50), largest_page=10)
    for hours in (3, 9, 15):
        desk.exchange.insert_item(claim(NOW - 3 * HOUR), NOW - hours * HOUR)

    found = desk.diagnose()

    assert "the exchange sends 1 of them" in " ".join(found.root_cause.evidence)
    assert "1 refused item claims" in check(found, "volume_matches_api").observed


@embedded_only
def test_junk_that_claims_nothing_is_no_change_of_schema(desk: Desk) -> None:
    desk.migrate()
    desk.serve(one_day(50))
    for number in range(5):
        desk.exchange.insert_item({"status": "resting", "order_id": f"o{number}"}, NOW - 3 * HOUR)
    desk.run()

    assert_well(desk.diagnose())


@embedded_only
def test_sync_not_running_where_nothing_has_started_it_for_hours(desk: Desk) -> None:
    desk.healthy(one_day(50))
    desk.clock.now = NOW + 5 * HOUR
    desk.exchange.add([fill_at(NOW + 3 * HOUR)])

    found = desk.diagnose()

    assert found.verdict == "fail"
    assert causes(found) == ["sync_not_running"]
    assert "the last one finished on 2026-11-22 12:00" in " ".join(found.root_cause.evidence)
    assert found.root_cause.next == "kalshi-fills sync"
    assert found.breaks == [
        fill_break("missing", fill_at(NOW + 3 * HOUR), exchange=side_of(fill_at(NOW + 3 * HOUR)))
    ]
    offline = desk.diagnose(offline=True)
    assert (offline.verdict, causes(offline)) == ("warn", ["sync_not_running"])
    desk.run()
    assert_well(desk.diagnose())


@embedded_only
def test_sync_not_running_where_it_never_ran(desk: Desk) -> None:
    desk.migrate()
    desk.serve(one_day(10))

    found = desk.diagnose()

    assert causes(found) == ["sync_not_running"]
    assert "no sync has ever finished" in found.root_cause.evidence
    assert check(found, "volume_matches_api").next == "kalshi-fills sync"


@embedded_only
def test_sync_not_running_where_the_latest_failed(desk: Desk) -> None:
    desk.healthy(one_day(50))
    desk.clock.now = NOW + 40 * MINUTE
    desk.exchange.add([fill_at(NOW + 20 * MINUTE)])
    desk.ledger("failed", 5 * MINUTE, error="the exchange refused the signature")

    found = desk.diagnose()

    assert found.verdict == "fail"
    assert causes(found) == ["sync_not_running"]
    assert "the exchange refused the signature" in " ".join(found.root_cause.evidence)
    offline = desk.diagnose(offline=True)
    assert (offline.verdict, causes(offline)) == ("warn", ["sync_not_running"])


@embedded_only
def test_a_silent_sync_on_a_silent_account_is_no_failure(desk: Desk) -> None:
    desk.healthy(one_day(50))
    desk.clock.now = NOW + 5 * HOUR

    assert_well(desk.diagnose())


def test_key_sees_one_subaccount(desk: Desk) -> None:
    account = one_day(60)
    desk.healthy(account)
    desk.serve(account, restricted_subaccount=1)

    found = desk.diagnose()

    assert found.verdict == "warn"
    assert causes(found) == ["key_sees_one_subaccount"]
    assert found.breaks == []
    other = sum(fill.subaccount == 0 for fill in account.fills)
    assert 0 < other < 60
    assert f"exchange {60 - other}, table {60 - other}" in found.checks[0].observed
    assert f"{other} more" in found.checks[0].observed


@embedded_only
def test_a_key_of_one_subaccount_still_finds_its_own_breaks(desk: Desk) -> None:
    account = one_day(60)
    desk.healthy(account)
    desk.serve(account, restricted_subaccount=1)
    gone = next(fill for fill in account.fills if fill.subaccount == 1)
    desk.delete(gone)

    found = desk.diagnose()

    assert found.verdict == "fail"
    assert found.breaks == [fill_break("missing", gone, exchange=side_of(gone))]
    assert causes(found) == ["key_sees_one_subaccount", "fills_missing"]


@embedded_only
def test_a_key_of_one_subaccount_does_not_call_rows_of_unknown_subaccounts_foreign(
    desk: Desk,
) -> None:
    account = one_day(60)
    desk.healthy(account)
    for fill in account.fills[:30]:
        desk.change(fill, "subaccount_number = NULL")
    desk.serve(account, restricted_subaccount=1)

    found = desk.diagnose()

    assert causes(found) == ["key_sees_one_subaccount", "rows_altered"]
    assert {one.kind for one in found.breaks} <= {"mismatch"}


@embedded_only
def test_fills_missing(desk: Desk) -> None:
    account = one_day(50)
    desk.healthy(account)
    gone = account.fills[10:13]
    desk.delete(*gone)

    found = desk.diagnose()

    assert causes(found) == ["fills_missing"]
    assert {one.fill_id for one in found.breaks} == {fill.fill_id for fill in gone}
    assert "fills missing: 3" in found.root_cause.evidence[0]
    since = found.root_cause.next.removeprefix("kalshi-fills sync --since ")
    start = datetime.fromisoformat(since).replace(tzinfo=NOW.tzinfo)
    desk.run(since=start)
    assert_well(desk.diagnose())


@embedded_only
def test_what_the_volume_check_says_to_run_next_repairs_the_table(desk: Desk) -> None:
    """Plain `sync` reads the last hour again and would leave an older break as it is."""
    account = one_day(50)
    desk.healthy(account)
    gone = account.fills[-1]
    desk.delete(gone)

    found = desk.diagnose()

    day = f"{datetime.fromtimestamp(gone.executed_at_us / 1e6, NOW.tzinfo):%Y-%m-%d}"
    assert found.root_cause.next == f"kalshi-fills sync --since {day}"
    assert check(found, "volume_matches_api").next == found.root_cause.next


@embedded_only
def test_two_causes_at_once_are_both_named_the_worst_first(desk: Desk) -> None:
    account = one_day(50)
    desk.healthy(account)
    desk.write(*(garbage(NOW - HOUR - number * SECOND, number) for number in range(0, 600, 7)))
    desk.write(engine_row(account.fills[3]))
    desk.delete(account.fills[20])

    found = desk.diagnose()

    assert causes(found) == [
        "non_fills_written_as_fills",
        "same_fills_inserted_again",
        "fills_missing",
    ]


@embedded_only
def test_old_repeats_do_not_hide_a_foreign_row_of_today(desk: Desk) -> None:
    account = one_day(50)
    desk.healthy(account)
    old = fill_at(NOW - 9 * DAY, 77)
    desk.write(*[engine_row(old)] * 5)
    desk.write(engine_row(fill_at(NOW - HOUR, 78), fill_id="nobody-knows"))

    found = desk.diagnose()

    assert causes(found) == ["non_fills_written_as_fills", "same_fills_inserted_again"]
