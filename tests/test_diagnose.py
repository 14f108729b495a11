"""What diagnose finds, and that it names that and nothing else; on both engines, over a socket."""

from __future__ import annotations

import json
import random
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from support.diagnosing import (
    CHECKS,
    Desk,
    assert_well,
    causes,
    check,
    engine_row,
    statuses,
)
from support.legacy import LEGACY, legacy_row, make
from support.syncing import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    account_of,
    claim,
    fill_at,
    one_day,
)

from kalshi_fills.diagnose.run import Diagnosis
from kalshi_fills.errors import ExchangeError, SchemaError
from kalshi_fills.pipeline.fills import FillKey
from kalshi_fills.practice.account import (
    PracticeAccount,
    PracticeFill,
    generate_account,
    incident_rows,
    the_incident,
)
from kalshi_fills.reconcile import reconciliation
from kalshi_fills.reconcile.breaks import Break, FillSide
from kalshi_fills.report.breaks import break_json
from kalshi_fills.report.diagnose import diagnosis_json
from kalshi_fills.warehouse.store import FillStore

embedded_only = pytest.mark.parametrize("warehouse", ["embedded"], indirect=True)
"""For tests of what is decided in Python; what the SQL says is tested on both engines."""


def side_of(fill: PracticeFill) -> FillSide:
    """Return a fill as one side of a break."""
    at = datetime.fromtimestamp(0, NOW.tzinfo) + timedelta(microseconds=fill.executed_at_us)
    price = fill.yes_price if fill.outcome_side == "yes" else 1 - fill.yes_price
    return FillSide(at, fill.outcome_side, price, fill.count)


def shown(found: Diagnosis) -> list[dict[str, str | None]]:
    """Return the breaks of a diagnosis as JSON has them."""
    return [break_json(one) for one in found.breaks]


def fill_break(kind: str, fill: PracticeFill, **more: Any) -> Break:
    plain = Break(kind, "fill", fill.fill_id, fill.order_id, fill.ticker, None, None, None)
    return plain._replace(**more)


# The incident


def write_incident(desk: Desk, count: int = 4774) -> list[dict[str, Any]]:
    rows = incident_rows(NOW, count)
    make(desk.warehouse, desk.tables, rows=rows)
    desk.serve(the_incident(NOW))
    return rows


def test_the_incident_is_told_with_its_numbers_and_its_causes(desk: Desk) -> None:
    rows = write_incident(desk)

    found = desk.diagnose()

    assert found.verdict == "fail"
    assert [check.name for check in found.checks] == CHECKS
    assert set(statuses(found).values()) == {"fail"}
    volume = check(found, "volume_matches_api")
    assert "exchange 5, table 4,774" in volume.observed
    assert "955 times" in volume.explanation
    schema = check(found, "schema_migrated")
    assert schema.observed.startswith("the column fill_id is missing")
    assert schema.next == "kalshi-fills migrate"
    prices = check(found, "prices_valid")
    zero = sum(row["price_cents"] == 0 for row in rows)
    assert f"price 0 in {zero:,} of 4,774 rows (92.5%)" in prices.observed
    cadence = check(found, "no_periodic_cadence")
    assert "D = " in cadence.observed
    assert "p = " in cadence.observed
    assert "minutes tested" in cadence.observed
    assert "79." in cadence.observed
    orders = Counter(str(row["exchange_order_id"]) for row in rows)
    ((order, many),) = orders.most_common(1)
    repeats = check(found, "no_duplicate_rows")
    assert f"order {order} alone has {many:,} rows" in repeats.observed
    assert "5 fills stand in" in repeats.observed
    assert causes(found) == [
        "schema_never_migrated",
        "non_fills_written_as_fills",
        "same_fills_inserted_again",
        "event_time_written_as_now",
    ]
    assert found.root_cause.next == "kalshi-fills migrate"
    assert all(cause.explanation and cause.next for cause in found.causes)
    assert all(cause.evidence for cause in found.causes)


@embedded_only
def test_an_order_with_thousands_of_rows_is_named(desk: Desk) -> None:
    rows = write_incident(desk, 17_400)
    ((order, many),) = Counter(str(row["exchange_order_id"]) for row in rows).most_common(1)
    assert many >= 6_600

    found = desk.diagnose()

    assert f"order {order} alone has {many:,} rows" in check(found, "no_duplicate_rows").observed
    (break_,) = [one for one in found.breaks if one.order_id == order]
    assert break_ == Break(
        "unexpected", "order", None, order, break_.market_ticker, "fills", None, many
    )


def test_the_incident_offline_is_told_as_far_as_the_table_tells(desk: Desk) -> None:
    write_incident(desk)

    found = desk.diagnose(offline=True)

    assert found.verdict == "fail"
    assert statuses(found) == dict.fromkeys(CHECKS, "fail") | {"volume_matches_api": "skip"}
    assert causes(found)[:4] == [
        "schema_never_migrated",
        "non_fills_written_as_fills",
        "same_fills_inserted_again",
        "event_time_written_as_now",
    ]
    assert found.requests == 0
    assert found.breaks == []
    assert any("Offline" in note for note in found.notes)


def test_after_migrate_and_sync_the_incident_is_over(desk: Desk) -> None:
    write_incident(desk)
    desk.migrate()
    desk.run()

    found = desk.diagnose()

    assert_well(found)
    assert statuses(found) == dict.fromkeys(CHECKS, "pass") | {"no_periodic_cadence": "skip"}
    assert "exchange 5, table 5" in check(found, "volume_matches_api").observed
    assert_well(desk.diagnose(offline=True))


@embedded_only
def test_the_json_has_the_contract_s_keys(desk: Desk) -> None:
    write_incident(desk)

    found = json.loads(json.dumps(diagnosis_json(desk.diagnose())))

    assert found.keys() >= {
        "command",
        "verdict",
        "window",
        "checks",
        "queries",
        "breaks",
        "root_cause",
        "root_causes",
    }
    assert (found["command"], found["verdict"]) == ("diagnose", "fail")
    assert found["window"].keys() == {"start", "end"}
    wanted = {"name", "status", "observed", "expected", "explanation", "next"}
    assert [one["name"] for one in found["checks"]] == CHECKS
    assert all(one.keys() == wanted for one in found["checks"])
    assert len(found["queries"]) >= 10
    assert all(one.keys() >= {"name", "rows"} for one in found["queries"])
    cause = {"name", "explanation", "evidence", "next"}
    assert found["root_cause"] == found["root_causes"][0]
    assert all(one.keys() == cause for one in found["root_causes"])
    assert all(one.keys() == set(Break._fields) for one in found["breaks"])


# Root causes, each made on purpose


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
    """Give an order as the broken engine wrote it: at price 0."""
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


# Single breaks, each shown as exactly that


@pytest.fixture
def well(desk: Desk) -> tuple[Desk, PracticeAccount]:
    """A healthy account with both tiers and several fills an order."""
    account = generate_account(9, 120, start=NOW - 20 * HOUR, end=NOW - HOUR, eras="current")
    cutoff = NOW - 10 * HOUR
    desk.healthy(account, cutoff=cutoff, orders_cutoff=cutoff)
    return desk, account


Well = tuple[Desk, PracticeAccount]


def some(account: PracticeAccount) -> list[PracticeFill]:
    """Give a fill of each tier, of orders with several fills."""
    many = Counter(fill.order_id for fill in account.fills)
    several = [fill for fill in account.fills if many[fill.order_id] > 1]
    return [several[5], several[-5]]


def test_one_fill_deleted(well: Well) -> None:
    desk, account = well
    for gone in some(account):
        desk.delete(gone)

        found = desk.diagnose()

        assert found.breaks == [fill_break("missing", gone, exchange=side_of(gone))]
        assert "1 missing" in check(found, "volume_matches_api").observed
        assert "exchange 120, table 119" in check(found, "volume_matches_api").observed
        assert check(found, "no_duplicate_rows").status == "pass"
        assert causes(found) == ["fills_missing"]
        desk.run(full=True)


def test_one_fill_added(well: Well) -> None:
    desk, account = well
    like = some(account)[0]
    added = replace(like, fill_id="made-up")
    desk.write(engine_row(added, fill_id="made-up"))

    found = desk.diagnose()

    assert found.breaks == [fill_break("unexpected", added, table=side_of(added))]
    assert "1 unexpected" in check(found, "volume_matches_api").observed
    assert "exchange 120, table 121" in check(found, "volume_matches_api").observed
    assert found.verdict == "fail"


PRICE = ("price_cents", "yes_price_dollars", "no_price_dollars")


def test_one_price_changed_by_a_hundredth_of_a_cent(well: Well) -> None:
    desk, account = well
    fill = some(account)[0]
    tick = Decimal("0.0001")
    cents = 100 * (fill.yes_price if fill.outcome_side == "yes" else 1 - fill.yes_price)
    step = tick * 100 if fill.outcome_side == "yes" else -tick * 100
    desk.change(
        fill,
        f"yes_price_dollars = yes_price_dollars + {tick}, "
        f"no_price_dollars = no_price_dollars - {tick}, price_cents = price_cents + {step}",
    )

    found = desk.diagnose()

    yes, no = fill.yes_price, 1 - fill.yes_price
    assert {one["field"]: (one["exchange"], one["table"]) for one in shown(found)} == {
        "price_cents": (f"{cents:.4f}", f"{cents + step:.4f}"),
        "yes_price_dollars": (f"{yes:.6f}", f"{yes + tick:.6f}"),
        "no_price_dollars": (f"{no:.6f}", f"{no - tick:.6f}"),
    }
    assert {(one.kind, one.scope, one.fill_id) for one in found.breaks} == {
        ("mismatch", "fill", fill.fill_id)
    }
    assert "1 mismatch" in check(found, "volume_matches_api").observed
    assert found.verdict == "fail"
    assert causes(found) == ["rows_altered"]
    day = datetime.fromtimestamp(fill.executed_at_us // 86_400_000_000 * 86_400, NOW.tzinfo)
    assert found.root_cause.next == f"kalshi-fills sync --since {day:%Y-%m-%d}"
    desk.run(since=day)
    assert_well(desk.diagnose())


@embedded_only
@pytest.mark.parametrize(
    ("field", "expression", "sent", "held"),
    [
        (
            "yes_price_dollars",
            "yes_price_dollars + toDecimal64('0.0001', 6)",
            lambda fill: f"{fill.yes_price:.6f}",
            lambda fill: f"{fill.yes_price + Decimal('0.0001'):.6f}",
        ),
        (
            "fee_dollars",
            "fee_dollars + toDecimal64('0.000001', 6)",
            lambda fill: f"{fill.fee:.6f}",
            lambda fill: f"{fill.fee + Decimal('0.000001'):.6f}",
        ),
        (
            "size",
            "size + toDecimal64('0.01', 2)",
            lambda fill: f"{fill.count:.2f}",
            lambda fill: f"{fill.count + Decimal('0.01'):.2f}",
        ),
        ("fee_dollars", "NULL", lambda fill: f"{fill.fee:.6f}", lambda _: ""),
        ("is_taker", "NOT is_taker", lambda fill: str(fill.is_taker).lower(), None),
        (
            "subaccount_number",
            "subaccount_number + 1",
            lambda fill: str(fill.subaccount),
            lambda fill: str(fill.subaccount + 1),
        ),
        ("action", "'sold'", None, lambda _: "sold"),
        ("book_side", "'x'", None, lambda _: "x"),
    ],
)
def test_one_field_changed(
    well: Well,
    field: str,
    expression: str,
    sent: Callable[[PracticeFill], str] | None,
    held: Callable[[PracticeFill], str] | None,
) -> None:
    desk, account = well
    fill = some(account)[0]
    desk.change(fill, f"{field} = {expression}")

    found = desk.diagnose()

    (one,) = found.breaks
    assert one == fill_break("mismatch", fill, field=field, exchange=one.exchange, table=one.table)
    (text,) = shown(found)
    if sent is not None:
        assert text["exchange"] == sent(fill)
    if held is not None:
        assert text["table"] == held(fill)
    assert found.verdict == "fail"


@embedded_only
@pytest.mark.parametrize(
    "step", [SECOND / 1_000_000, HOUR, -HOUR, 90 * MINUTE, 9 * HOUR, -DAY, -40 * DAY]
)
def test_one_time_changed_is_one_mismatch(well: Well, step: timedelta) -> None:
    desk, account = well
    fill = next(
        fill
        for fill in account.fills
        if NOW - 12 * HOUR
        < datetime.fromtimestamp(fill.executed_at_us / 1e6, NOW.tzinfo)
        < NOW - 10 * HOUR - MINUTE
    )
    was = datetime.fromtimestamp(0, NOW.tzinfo) + timedelta(microseconds=fill.executed_at_us)
    microseconds = round(step / timedelta(microseconds=1))
    desk.change(fill, f"ts = addMicroseconds(ts, {microseconds})")

    found = desk.diagnose()

    assert found.breaks == [
        fill_break("mismatch", fill, field="ts", exchange=was, table=was + step)
    ]
    texts = [moment.isoformat(" ", "microseconds")[:26] for moment in (was, was + step)]
    assert [[one["exchange"], one["table"]] for one in shown(found)] == [texts]
    assert "fills_missing" not in causes(found)
    assert "non_fills_written_as_fills" not in causes(found)


@embedded_only
def test_one_time_changed_from_before_the_window_into_it_is_one_mismatch(well: Well) -> None:
    desk, account = well
    fill = account.fills[-1]
    was = datetime.fromtimestamp(0, NOW.tzinfo) + timedelta(microseconds=fill.executed_at_us)
    since = NOW - was - SECOND
    desk.change(fill, "ts = addHours(ts, 3)")

    found = desk.diagnose(since)

    assert found.breaks == [
        fill_break("mismatch", fill, field="ts", exchange=was, table=was + 3 * HOUR)
    ]


def test_one_row_again_with_a_blank_id(well: Well) -> None:
    desk, account = well
    fill = some(account)[0]
    desk.write(engine_row(fill))

    found = desk.diagnose()

    assert found.breaks == [fill_break("unexpected", fill, fill_id="", table=side_of(fill))]
    assert check(found, "no_duplicate_rows").status == "fail"
    assert "1 fill stands in 2 rows" in check(found, "no_duplicate_rows").observed
    assert causes(found) == ["same_fills_inserted_again"]


@pytest.mark.parametrize("ticker", ["AAA-BEFORE", "zzz-after"])
def test_one_row_again_under_a_second_ticker(well: Well, ticker: str) -> None:
    desk, account = well
    fill = some(account)[0]
    desk.write(engine_row(fill, fill_id=fill.fill_id, market_ticker=ticker))

    found = desk.diagnose()

    twin = replace(fill, ticker=ticker)
    assert found.breaks == [fill_break("unexpected", twin, table=side_of(fill))]
    assert check(found, "no_duplicate_rows").status == "fail"
    assert causes(found) == ["same_fills_inserted_again"]


@embedded_only
def test_a_fill_that_stands_under_another_ticker_only(well: Well) -> None:
    desk, account = well
    fill = some(account)[0]
    desk.delete(fill)
    desk.write(engine_row(fill, fill_id=fill.fill_id, market_ticker="KXOTHER"))

    found = desk.diagnose()

    fields = {one.field: (one.exchange, one.table) for one in found.breaks}
    assert fields["market_ticker"] == (fill.ticker, "KXOTHER")
    assert {one.kind for one in found.breaks} == {"mismatch"}


def test_one_order_with_a_missing_fill(well: Well) -> None:
    """The exchange itself shows fewer fills than the order says: money is missing somewhere."""
    desk, account = well
    for fill in some(account):
        (order,) = [one for one in account.orders() if one.order_id == fill.order_id]
        more = order.fill_count + 3
        desk.exchange.change_order(order.order_id, fill_count=more)

        found = desk.diagnose()

        assert found.breaks == [
            Break(
                "mismatch",
                "order",
                None,
                order.order_id,
                order.ticker,
                "fill_count_fp",
                more,
                order.fill_count,
            )
        ]
        assert found.verdict == "fail"
        assert causes(found) == ["fills_missing"]
        assert "1 order that differs" in check(found, "volume_matches_api").observed
        desk.exchange.show_order(order.order_id)
    assert_well(desk.diagnose())


@embedded_only
def test_one_order_of_which_no_fill_is_there(well: Well) -> None:
    desk, account = well
    like = account.unfilled_orders[0] if account.unfilled_orders else account.orders()[0]
    account.unfilled_orders.append(
        replace(
            like,
            order_id="never-filled",
            created_at_us=account.fills[3].executed_at_us,
            updated_at_us=account.fills[3].executed_at_us,
        )
    )
    desk.exchange.add([])
    assert_well(desk.diagnose())
    desk.exchange.change_order("never-filled", fill_count=Decimal("7.00"))

    found = desk.diagnose()

    assert found.breaks == [
        Break(
            "missing", "order", None, "never-filled", like.ticker, "fill_count_fp", Decimal(7), None
        )
    ]
    assert causes(found) == ["fills_missing"]


@embedded_only
def test_one_order_with_another_fee(well: Well) -> None:
    desk, account = well
    fill = some(account)[0]
    (order,) = [one for one in account.orders() if one.order_id == fill.order_id]
    desk.exchange.change_order(order.order_id, maker_fees=order.maker_fees + Decimal("0.000001"))

    found = desk.diagnose()

    total = order.maker_fees + order.taker_fees
    assert found.breaks == [
        Break(
            "mismatch",
            "order",
            None,
            order.order_id,
            order.ticker,
            "fees_dollars",
            total + Decimal("0.000001"),
            total,
        )
    ]
    assert found.verdict == "fail"
    assert "position" not in found.root_cause.explanation


def open_market(account: PracticeAccount) -> str:
    """Give a market that is not settled by now."""
    now_us = int(NOW.timestamp() * 1_000_000)
    return next(
        fill.ticker for fill in account.fills if not account.is_settled(fill.ticker, now_us)
    )


def test_one_position_off_by_a_hundredth(well: Well) -> None:
    desk, account = well
    ticker = open_market(account)
    held = sum(
        (fill.count if fill.outcome_side == "yes" else -fill.count)
        for fill in account.fills
        if (fill.ticker, fill.subaccount) == (ticker, 0)
    )
    desk.exchange.move_position(ticker, 0, Decimal("0.01"))

    found = desk.diagnose()

    assert found.breaks == [
        Break(
            "mismatch",
            "position",
            None,
            None,
            ticker,
            "position_fp of 0",
            held + Decimal("0.01"),
            held,
        )
    ]
    assert found.verdict == "warn"
    assert causes(found) == []
    assert "transfer" in found.root_cause.explanation


@embedded_only
def test_contracts_moved_between_subaccounts_are_explained_and_no_break(well: Well) -> None:
    desk, account = well
    ticker = open_market(account)
    desk.exchange.move_position(ticker, 0, Decimal("-4.00"))
    desk.exchange.move_position(ticker, 1, Decimal("4.00"))

    found = desk.diagnose()

    assert_well(found)
    assert any(ticker in note and "moved between subaccounts" in note for note in found.notes)


@embedded_only
def test_contracts_moved_to_a_subaccount_that_never_traded_are_a_warning(well: Well) -> None:
    """It is not asked for: the exchange lists positions one subaccount at a time."""
    desk, account = well
    ticker = open_market(account)
    desk.exchange.move_position(ticker, 0, Decimal("-4.00"))
    desk.exchange.move_position(ticker, 7, Decimal("4.00"))

    found = desk.diagnose()

    assert found.verdict == "warn"
    assert {one.scope for one in found.breaks} == {"position"}
    assert "transfer" in found.root_cause.explanation


@embedded_only
def test_a_fill_older_than_the_window_that_is_missing_is_found_by_its_position(desk: Desk) -> None:
    old = fill_at(NOW - 5 * DAY)
    account = account_of(old, fill_at(NOW - HOUR, 2))
    desk.healthy(account)
    desk.delete(old)

    found = desk.diagnose()

    assert found.breaks == [fill_break("missing", old, exchange=side_of(old))]
    assert causes(found) == ["fills_missing"]
    assert found.root_cause.next == "kalshi-fills sync --since 2026-11-17"


@embedded_only
def test_more_breaks_than_are_named_are_said_to_be_more(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "MAX_BREAKS", 10)
    account = one_day(60)
    desk.healthy(account)
    desk.delete(*account.fills[:30])

    found = desk.diagnose()

    assert found.more_breaks
    assert len(found.breaks) == 10
    assert "10 missing; and more" in check(found, "volume_matches_api").observed


# What changes meanwhile


@embedded_only
def test_fills_after_the_last_sync_are_pending_and_no_break(desk: Desk) -> None:
    desk.healthy(one_day(50))
    desk.clock.now = NOW + 30 * MINUTE
    desk.exchange.add(fill_at(NOW + number * MINUTE, number) for number in range(3, 10))

    found = desk.diagnose()

    assert_well(found)
    volume = check(found, "volume_matches_api")
    assert "7 newer than the last sync" in volume.explanation


@embedded_only
def test_after_a_truncate_nothing_is_pending_that_was_there_before(desk: Desk) -> None:
    """A truncate sets the watermark back; until the next sync the fills are missing, not new."""
    account = one_day(50)
    desk.healthy(account)
    desk.delete(*account.fills)
    store = FillStore(desk.warehouse, desk.tables, uuid.uuid4(), NOW, dry_run=False)
    store.rewind(NOW - 2 * DAY, "rewound by truncate", NOW)

    found = desk.diagnose()

    assert found.verdict == "fail"
    assert len(found.breaks) == 50
    assert found.root_cause.next.startswith("kalshi-fills sync")


@embedded_only
def test_a_watermark_held_by_a_refused_item_hides_no_missing_fill(desk: Desk) -> None:
    account = one_day(50)
    desk.migrate()
    desk.serve(account)
    desk.exchange.insert_item(claim(NOW - 23 * HOUR), NOW - 23 * HOUR)
    assert desk.run().watermark < NOW - 22 * HOUR
    assert desk.diagnose().breaks == []
    desk.delete(account.fills[7])

    found = desk.diagnose()

    assert [(one.kind, one.fill_id) for one in found.breaks] == [
        ("missing", account.fills[7].fill_id)
    ]
    assert causes(found) == ["exchange_schema_changed", "fills_missing"]


@embedded_only
def test_what_is_newer_than_the_watermark_and_stored_is_not_pending(desk: Desk) -> None:
    """The watermark stays behind while the exchange lags; the fills were stored all the same."""
    account = one_day(50)
    desk.migrate()
    desk.serve(account, as_of_lag_seconds=7200)
    desk.run()
    desk.serve(account)

    found = desk.diagnose()

    assert_well(found)
    assert "newer than the last sync" not in check(found, "volume_matches_api").explanation


@embedded_only
@pytest.mark.parametrize(
    "path",
    ["/portfolio/fills", "/portfolio/orders", "/historical/orders", "/portfolio/positions"],
)
def test_fills_arriving_while_it_reads_are_no_breaks(desk: Desk, path: str) -> None:
    account = one_day(80)
    desk.healthy(account)
    desk.clock.now = NOW + 10 * MINUTE
    like = next(fill for fill in account.fills if fill.ticker == open_market(account))
    serial = iter(range(1_000, 2_000))

    def trade(asked: str) -> None:
        if asked != path or len(met) > 5:
            return
        moments = [NOW + 9 * MINUTE, NOW + 10 * MINUTE - SECOND, NOW + 10 * MINUTE + SECOND]
        late = [fill_at(moment, next(serial)) for moment in moments]
        desk.exchange.add(
            replace(
                fill,
                ticker=like.ticker,
                order_id=order_id,
                outcome_side=like.outcome_side,
                subaccount=like.subaccount,
            )
            for fill in late[: 1 + len(met)]
            for order_id in (like.order_id,)
        )
        met.append(asked)

    met: list[str] = []
    assert_well(desk.diagnose(after=trade))
    assert met


@embedded_only
def test_an_order_that_lags_behind_its_fills_is_no_break(desk: Desk) -> None:
    account = one_day(50)
    desk.healthy(account)
    many = Counter(fill.order_id for fill in account.fills)
    fill = next(fill for fill in account.fills if many[fill.order_id] > 1)
    (order,) = [one for one in account.orders() if one.order_id == fill.order_id]
    desk.exchange.change_order(order.order_id, fill_count=order.fill_count - fill.count)

    def catch_up(path: str) -> None:
        if path == "/portfolio/orders":
            desk.exchange.show_order(order.order_id)

    assert_well(desk.diagnose(after=catch_up))


@embedded_only
def test_an_order_that_is_ahead_of_its_fills_for_a_moment_is_no_break(desk: Desk) -> None:
    account = one_day(50)
    desk.healthy(account)
    desk.clock.now = NOW + 10 * MINUTE
    like = account.fills[3]
    new = fill_at(NOW + 5 * MINUTE, 900, order_id=like.order_id, ticker=like.ticker)
    new = replace(
        new, outcome_side=like.outcome_side, subaccount=like.subaccount, fee=Decimal("0.000000")
    )
    (order,) = [one for one in account.orders() if one.order_id == like.order_id]
    desk.exchange.change_order(order.order_id, fill_count=order.fill_count + new.count)
    asked: list[str] = []

    def come_late(path: str) -> None:
        asked.append(path)
        if asked.count("/portfolio/orders") == 2 and path == "/portfolio/orders":
            desk.exchange.show_order(order.order_id)
            desk.exchange.add([new])

    assert_well(desk.diagnose(after=come_late))
    assert asked.count("/portfolio/orders") >= 2


@embedded_only
def test_an_order_that_is_listed_late_is_no_break(desk: Desk) -> None:
    account = one_day(50)
    desk.healthy(account)
    desk.exchange.hide_order(account.fills[0].order_id)

    assert_well(desk.diagnose())


@embedded_only
def test_a_sync_that_runs_meanwhile_makes_no_break(desk: Desk) -> None:
    account = one_day(60)
    desk.healthy(account)
    desk.exchange.add([fill_at(NOW - 10 * SECOND, 500)])
    done: list[object] = []

    def sync_once(path: str) -> None:
        if path.endswith("/fills") and not done:
            done.append(desk.run(full=True))

    assert_well(desk.diagnose(after=sync_once))
    assert done


@embedded_only
def test_a_row_that_is_ahead_of_what_the_exchange_calls_complete_is_no_break(desk: Desk) -> None:
    fill = fill_at(NOW - MINUTE, 3)
    desk.healthy(account_of(fill_at(NOW - 3 * HOUR), fill))
    desk.serve(account_of(fill_at(NOW - 3 * HOUR)), as_of_lag_seconds=600)

    found = desk.diagnose()

    assert found.breaks == [] or {one.scope for one in found.breaks} == {"position"}
    assert any("Compared up to 2026-11-22T11:50:00Z" in note for note in found.notes)


# States that a table may be in


@embedded_only
def test_no_table_and_nothing_traded(desk: Desk) -> None:
    desk.serve(account_of())

    found = desk.diagnose()

    assert found.verdict == "fail"
    assert causes(found) == ["schema_never_migrated"]
    assert found.root_cause.next == "kalshi-fills migrate"


def test_an_empty_table_offline_is_no_failure(desk: Desk) -> None:
    desk.migrate()

    found = desk.diagnose(offline=True)

    assert found.verdict == "pass"
    assert statuses(found) == dict.fromkeys(CHECKS, "skip") | {"schema_migrated": "pass"}


def test_an_empty_legacy_table(desk: Desk) -> None:
    make(desk.warehouse, desk.tables)
    desk.serve(account_of())

    found = desk.diagnose()

    assert found.verdict == "fail"
    assert causes(found) == ["schema_never_migrated"]
    assert statuses(found)["volume_matches_api"] == "skip"


def legacy_of(fill: PracticeFill, **changes: object) -> dict[str, object]:
    row = engine_row(fill) | {"price": float(fill.yes_price), "fee": float(fill.fee)}
    return row | {"price_cents": int(row["price_cents"]), "size": float(fill.count)} | changes  # type: ignore[call-overload]


def test_a_legacy_table_with_the_right_rows_is_only_of_an_old_schema(desk: Desk) -> None:
    account = one_day(40, eras="legacy")
    rows = [legacy_of(fill, raw_json=fill.payload_json("legacy")) for fill in account.fills]
    make(desk.warehouse, desk.tables, rows=rows)
    desk.serve(account)

    found = desk.diagnose()

    assert causes(found) == ["schema_never_migrated"]
    assert found.breaks == []
    assert statuses(found) == dict.fromkeys(CHECKS, "pass") | {
        "schema_migrated": "fail",
        "no_periodic_cadence": statuses(found)["no_periodic_cadence"],
    }


def test_a_legacy_table_with_an_id_added_by_hand(desk: Desk) -> None:
    account = one_day(40, eras="legacy")
    rows = [
        legacy_of(fill, fill_id=fill.fill_id, raw_json=fill.payload_json("legacy"))
        for fill in account.fills
    ]
    make(desk.warehouse, desk.tables, {**LEGACY, "fill_id": "String"}, [*rows, rows[5], rows[5]])
    desk.serve(account)

    found = desk.diagnose()

    assert causes(found) == ["schema_never_migrated", "same_fills_inserted_again"]
    assert "1 fill stands in 3 rows" in check(found, "no_duplicate_rows").observed


def test_a_migration_that_was_killed_is_named(desk: Desk) -> None:
    desk.healthy(one_day(20))
    desk.warehouse.command(f"DROP TABLE {desk.tables.name('_runs')}")

    found = desk.diagnose()

    assert causes(found) == ["schema_never_migrated"]
    assert "mm_fills_runs" in " ".join(found.root_cause.evidence)


ODD_TYPES: dict[str, dict[str, str | None]] = {
    "whole seconds": {"ts": "DateTime"},
    "whole seconds utc": {"ts": "DateTime('UTC')"},
    "no zone": {"ts": "DateTime64(3)"},
    "another zone, half an hour off": {"ts": "DateTime64(3, 'Asia/Kolkata')"},
    "decision as text": {"decision_id": "String"},
    "size as text": {"size": "String"},
    "whole contracts": {"size": "UInt32"},
    "float cents": {"price_cents": "Float64"},
    "decimal cents": {"price_cents": "Decimal(9, 4)"},
    "signed cents": {"price_cents": "Int8"},
    "nullable": {
        "size": "Nullable(Float64)",
        "price_cents": "Nullable(Int32)",
        "decision_id": "Nullable(UUID)",
        "client_order_id": "Nullable(String)",
        "raw_json": "Nullable(String)",
        "engine_instance_id": "Nullable(String)",
        "exchange_order_id": "Nullable(String)",
        "side": "LowCardinality(Nullable(String))",
    },
    "few columns": {
        "raw_json": None,
        "side": None,
        "decision_id": None,
        "client_order_id": None,
        "engine_instance_id": None,
        "size": None,
    },
}


@pytest.mark.sampled(5)
@pytest.mark.parametrize("types", list(ODD_TYPES.values()), ids=list(ODD_TYPES))
def test_a_legacy_table_of_other_types_is_looked_at_all_the_same(
    desk: Desk, types: dict[str, str | None]
) -> None:
    account = one_day(30, eras="legacy")
    held = {name: kind for name, kind in {**LEGACY, **types}.items() if kind is not None}
    rows = []
    for fill in account.fills:
        row = legacy_of(fill, raw_json=fill.payload_json("legacy"))
        if held.get("size") == "String":
            row["size"] = str(row["size"])
        elif held.get("size") == "UInt32":
            row["size"] = int(row["size"])  # type: ignore[call-overload]
        if held.get("decision_id") == "String":
            row["decision_id"] = str(row["decision_id"])
        if held["ts"].startswith("DateTime") and "64" not in held["ts"]:
            row["ts"] = row["ts"].replace(microsecond=0)  # type: ignore[attr-defined]
        rows.append({name: value for name, value in row.items() if name in held})
    # A text is read in the column's own zone, so what is written is written in UTC first.
    make(desk.warehouse, desk.tables, held | {"ts": "DateTime64(6, 'UTC')"}, rows, suffix="_utc")
    make(desk.warehouse, desk.tables, held)
    desk.warehouse.command(
        f"INSERT INTO {desk.tables.name()} SELECT * FROM {desk.tables.name('_utc')}"
    )
    desk.serve(account)

    found = desk.diagnose()

    assert causes(found)[0] == "schema_never_migrated"
    assert "exchange 30, table 30" in check(found, "volume_matches_api").observed
    json.dumps(diagnosis_json(found))
    assert all(hour.exchange == hour.table for hour in found.hours)
    if "size" in held and "side" in held:
        assert causes(found) == ["schema_never_migrated"]
        assert found.breaks == []
        assert check(found, "prices_valid").status == "pass"


def test_a_table_that_is_none_of_fills_is_refused(desk: Desk) -> None:
    make(
        desk.warehouse,
        desk.tables,
        {"ts": "DateTime", "x": "String"},
        engine="MergeTree ORDER BY ts",
    )
    desk.serve(account_of())

    with pytest.raises(SchemaError, match="not a table of fills"):
        desk.diagnose()
    with pytest.raises(SchemaError, match="not a table of fills"):
        desk.diagnose(offline=True)


def test_a_view_of_that_name_is_refused(desk: Desk) -> None:
    make(desk.warehouse, desk.tables, suffix="_real")
    desk.warehouse.command(
        f"CREATE VIEW {desk.tables.name()} AS SELECT * FROM {desk.tables.name('_real')}"
    )

    with pytest.raises(SchemaError, match="not a table of fills"):
        desk.diagnose(offline=True)


@embedded_only
def test_an_exchange_that_is_down_is_said_so(desk: Desk) -> None:
    desk.healthy(one_day(5))
    desk.exchange.__exit__(None, None, None)
    desk.exchange._server = None

    class Gone:
        url = "http://127.0.0.1:9/trade-api/v2"

    desk.exchange = Gone()  # type: ignore[assignment]
    with pytest.raises(ExchangeError, match="could not be reached"):
        desk.diagnose()


@embedded_only
def test_a_regular_trader_whose_every_fill_is_proven_is_not_told_of_transfers(desk: Desk) -> None:
    """Its counts are as even as a clock's, yet each of its fills is the exchange's own."""
    fills = [
        fill_at(NOW - 2 * HOUR + number * 10 * SECOND, number, order_id=f"order-{number}")
        for number in range(360)
    ]
    desk.healthy(account_of(*fills))

    for offline in (False, True):
        found = desk.diagnose(offline=offline)

        assert check(found, "no_periodic_cadence").status in ("fail", "warn")
        assert "position" not in found.root_cause.explanation
        if offline:
            assert "agrees" not in found.root_cause.explanation


def test_hostile_texts_go_through(desk: Desk) -> None:
    nasty = "\x1b[31mRED\x1b[0m [bold]x[/bold] \u202e\u0000 'quote' {x} " + "T" * 600
    fills = [
        fill_at(
            NOW - 2 * HOUR - number * SECOND,
            number,
            ticker=f"{nasty}{number}",
            order_id=f"{number}{nasty[:50]}",
        )
        for number in range(4)
    ]
    desk.healthy(account_of(*fills))
    assert_well(desk.diagnose())
    desk.delete(fills[0])

    found = desk.diagnose()

    assert found.breaks == [fill_break("missing", fills[0], exchange=side_of(fills[0]))]


def test_the_same_id_under_two_orders_is_two_fills(desk: Desk) -> None:
    one = fill_at(NOW - 2 * HOUR)
    other = replace(one, order_id="the-other-side", outcome_side="no")
    desk.healthy(account_of(one, other))
    assert_well(desk.diagnose())
    desk.warehouse.command(
        f"ALTER TABLE {desk.tables.name()} DELETE WHERE exchange_order_id = 'the-other-side' "
        "SETTINGS mutations_sync = 2"
    )

    assert desk.diagnose().breaks == [fill_break("missing", other, exchange=side_of(other))]


def test_rows_that_wait_for_a_merge_count_once(desk: Desk) -> None:
    desk.warehouse.rows("SELECT 1")
    account = one_day(50)
    desk.migrate()
    desk.warehouse.command(f"SYSTEM STOP MERGES {desk.tables.name()}")
    try:
        desk.write(
            *(engine_row(fill, fill_id=fill.fill_id, price_cents=1) for fill in account.fills)
        )
        desk.serve(account)
        desk.run()
        physical = desk.warehouse.rows(f"SELECT count() FROM {desk.tables.name()}")
        assert physical == [(100,)]

        assert_well(desk.diagnose())
    finally:
        desk.warehouse.command(f"SYSTEM START MERGES {desk.tables.name()}")


def keys_of(fills: Sequence[PracticeFill]) -> set[FillKey]:
    return {FillKey(fill.fill_id, fill.order_id) for fill in fills}


@embedded_only
@pytest.mark.parametrize("seed", range(2))
def test_many_random_breaks_are_told_one_by_one(desk: Desk, seed: int) -> None:
    rng = random.Random(seed)
    account = generate_account(seed, 300, start=NOW - 20 * HOUR, end=NOW - HOUR, eras="current")
    desk.healthy(account, cutoff=NOW - 12 * HOUR, orders_cutoff=NOW - 12 * HOUR)
    picked = rng.sample(account.fills, 30)
    gone, fees, foreign = picked[:10], picked[10:20], picked[20:]
    desk.delete(*gone)
    for fill in fees:
        desk.change(fill, "fee_dollars = fee_dollars + toDecimal64('0.000001', 6)")
    desk.write(*(engine_row(fill, fill_id=f"x{fill.fill_id}") for fill in foreign))

    found = desk.diagnose()

    def told_as(kind: str) -> set[FillKey]:
        return {
            FillKey(one.fill_id or "", one.order_id or "")
            for one in found.breaks
            if one.kind == kind
        }

    assert len(found.breaks) == 30
    assert told_as("missing") == keys_of(gone)
    assert told_as("mismatch") == keys_of(fees)
    assert told_as("unexpected") == {FillKey(f"x{fill.fill_id}", fill.order_id) for fill in foreign}
    assert {one.scope for one in found.breaks} == {"fill"}
