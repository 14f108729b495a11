"""What changes while diagnose reads, and every state a table may be in."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest
from support.diagnoses import embedded_only, fill_break, open_market, side_of
from support.diagnosing import (
    CHECKS,
    Desk,
    assert_well,
    causes,
    check,
    engine_row,
    statuses,
)
from support.legacy import LEGACY, make
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

from kalshi_fills.diagnose import run
from kalshi_fills.errors import ExchangeError, SchemaError
from kalshi_fills.pipeline.fills import FillKey
from kalshi_fills.practice.account import (
    PracticeFill,
    generate_account,
)
from kalshi_fills.report.diagnose import diagnosis_json
from kalshi_fills.warehouse.store import FillStore

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


def test_an_interrupted_diagnosis_does_not_wait_for_a_survey_that_does_not_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "_GIVING_UP_SECONDS", 0.05)
    released = threading.Event()
    given_up: list[bool] = []

    class Silent:
        def give_up(self) -> None:
            given_up.append(True)

    began = time.monotonic()
    with (
        pytest.raises(KeyboardInterrupt),
        run._under_way(lambda: released.wait(60), Silent()),  # type: ignore[arg-type, return-value]
    ):
        raise KeyboardInterrupt
    assert time.monotonic() - began < 30
    assert given_up == [True]
    released.set()


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
        "settled_markets_match": "skip",
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
