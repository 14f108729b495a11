"""What is removed, kept and rewound."""

from __future__ import annotations

import os
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from support.clickhouse_server import ClickHouseServer
from support.commandline import Target
from support.legacy import (
    content,
    legacy_row,
    make,
    names_there,
    snapshot,
)
from support.syncing import TRUTH_COLUMNS, Bench, truth
from support.truncating import (
    DAY,
    EVERYTHING,
    GARBAGE,
    HOUR,
    NOW,
    TRADED,
    Cli,
    Serve,
    by_engine,
    ids,
    insert,
    migrated,
    row,
    synced_until,
    truncate,
    watermark,
)

from kalshi_fills.pipeline.stages import Counts
from kalshi_fills.practice.account import generate_account
from kalshi_fills.truncate.backups import backups
from kalshi_fills.truncate.place import place_of
from kalshi_fills.truncate.plan import Removed, TruncateRequest, TruncationReport, plan_truncation
from kalshi_fills.warehouse.client import Row, Warehouse
from kalshi_fills.warehouse.runs import Run
from kalshi_fills.warehouse.schema import require_today
from kalshi_fills.warehouse.server import open_server
from kalshi_fills.warehouse.statements import Tables
from kalshi_fills.warehouse.store import FillStore
from kalshi_fills.warehouse.there import columns

# Everything


def test_a_restored_table_is_the_same_row_by_row(warehouse: Warehouse, tables: Tables) -> None:
    migrated(warehouse, tables)
    warehouse.command(
        f"ALTER TABLE {tables.name()} ADD COLUMN desk LowCardinality(String) AFTER ts, "
        "ADD COLUMN doubled Decimal(18, 2) MATERIALIZED size * 2"
    )
    warehouse.command(f"SYSTEM STOP MERGES {tables.name()}")
    for number in range(30):
        insert(warehouse, tables, [row(f"f{number % 20}", version=number, desk=f"desk {number}")])
    insert(warehouse, tables, [by_engine("", raw_json="no json", desk="") for _ in range(3)])
    before, shape = content(warehouse, tables.name()), columns(warehouse, tables)
    logical = warehouse.rows(f"SELECT * FROM {tables.name()} FINAL ORDER BY ALL")

    gone = truncate(warehouse, tables)

    assert (gone.rows_before, gone.rows_removed, gone.rows_left) == (23, 23, 0)
    assert content(warehouse, tables.name()) == []
    assert columns(warehouse, tables) == shape
    require_today(warehouse, tables)
    assert gone.backup == gone.backups[0].name
    assert gone.backups[0].rows == 23

    back = truncate(warehouse, tables, TruncateRequest(restore=gone.backup))

    assert (back.restored, back.rows_restored, back.rows_left) == (gone.backup, 23, 23)
    assert content(warehouse, tables.name()) == before
    assert warehouse.rows(f"SELECT * FROM {tables.name()} FINAL ORDER BY ALL") == logical
    assert columns(warehouse, tables) == shape
    assert backups(warehouse, tables) == []


def test_a_million_rows_go_and_come_back_without_being_copied(
    warehouse: Warehouse, tables: Tables
) -> None:
    migrated(warehouse, tables)
    warehouse.command(
        f"INSERT INTO {tables.name()} (ts, fill_id, exchange_order_id, market_ticker, side, "
        "price_cents, size, version) SELECT toDateTime64('2026-01-01', 6, 'UTC') + "
        "toIntervalSecond(number), toString(number), 'o', 't', 'yes', 41, 1, 5 "
        "FROM numbers(1000000)"
    )
    warehouse.command(f"OPTIMIZE TABLE {tables.name()} FINAL")
    before = _parts(warehouse, tables)

    gone = truncate(warehouse, tables)

    assert gone.rows_removed == 1_000_000
    assert gone.backup is not None
    assert _parts(warehouse, tables, gone.backup) == before
    assert _parts(warehouse, tables) == []
    truncate(warehouse, tables, TruncateRequest(restore=gone.backup))
    assert _parts(warehouse, tables) == before


def _parts(warehouse: Warehouse, tables: Tables, name: str | None = None) -> list[Row]:
    """The files of a table's rows: a copy of them would lie elsewhere."""
    return warehouse.rows(
        "SELECT name, path, rows, bytes_on_disk, modification_time FROM system.parts "
        "WHERE database = {d:String} AND table = {t:String} AND active ORDER BY name",
        {"d": tables.database, "t": name or tables.fills},
    )


def test_a_legacy_table_can_be_emptied_and_brought_back(
    warehouse: Warehouse, tables: Tables
) -> None:
    make(warehouse, tables, rows=[legacy_row(number) for number in range(5)])
    before = content(warehouse, tables.name())
    made = _made(warehouse, tables)

    gone = truncate(warehouse, tables)

    assert (gone.rows_removed, gone.watermark) == (5, None)
    assert gone.next == "kalshi-fills migrate"
    assert content(warehouse, tables.name()) == []
    assert _made(warehouse, tables) == made
    assert gone.backup is not None
    assert content(warehouse, f"{tables.database}.{gone.backup}") == before
    truncate(warehouse, tables, TruncateRequest(restore=gone.backup))
    assert content(warehouse, tables.name()) == before


def _made(warehouse: Warehouse, tables: Tables) -> list[Row]:
    return warehouse.rows(
        "SELECT engine_full, sorting_key, partition_key FROM system.tables "
        "WHERE database = {d:String} AND name = {t:String}",
        {"d": tables.database, "t": tables.fills},
    )


def test_an_index_and_a_ttl_of_the_operator_s_own_stay(
    warehouse: Warehouse, tables: Tables
) -> None:
    migrated(warehouse, tables, row("f1"))
    warehouse.command(
        f"ALTER TABLE {tables.name()} ADD INDEX own_index size TYPE minmax, "
        "MODIFY TTL toDateTime(ts) + INTERVAL 90 YEAR"
    )

    for request in (TruncateRequest(before=NOW), EVERYTHING):
        insert(warehouse, tables, [row("f2", ts=NOW), row("f3")])
        truncate(warehouse, tables, request)

        ((made,),) = warehouse.rows(
            "SELECT create_table_query FROM system.tables "
            "WHERE database = {d:String} AND name = {t:String}",
            {"d": tables.database, "t": tables.fills},
        )
        assert "own_index" in made
        assert "TTL" in made


def test_without_a_backup_nothing_is_kept(warehouse: Warehouse, tables: Tables) -> None:
    migrated(warehouse, tables, row("f1"), row("f2"))
    before = names_there(warehouse, tables)

    for request in (
        TruncateRequest(before=TRADED + HOUR, keep=False),
        TruncateRequest(keep=False),
    ):
        gone = truncate(warehouse, tables, request)

        assert (gone.rows_removed, gone.backup, gone.backups) == (2, None, [])
        assert ids(warehouse, tables) == []
        assert names_there(warehouse, tables) == before
        insert(warehouse, tables, [row("f1"), row("f2")])


def test_nothing_to_remove_makes_no_backup(warehouse: Warehouse, tables: Tables) -> None:
    migrated(warehouse, tables)
    synced_until(warehouse, tables, NOW)
    before = snapshot(warehouse.rows, tables.database)
    for request in (EVERYTHING, GARBAGE, TruncateRequest(before=NOW)):
        done = truncate(warehouse, tables, request)

        assert not done.acted
        assert done.backup is None
        assert snapshot(warehouse.rows, tables.database) == before
    assert watermark(warehouse, tables) == NOW


@pytest.mark.server
def test_an_insert_in_flight_is_in_the_backup(server: ClickHouseServer) -> None:
    tables = Tables(f"truncate_in_flight_{os.getpid()}")
    warehouse, writer, looker = (open_server(server.url("default")) for _ in range(3))
    try:
        migrated(warehouse, tables, row("f1"))
        slow = threading.Thread(
            target=writer.command,
            args=(
                f"INSERT INTO {tables.name()} (ts, fill_id, exchange_order_id, market_ticker, "
                "side, price_cents, size, version) SELECT now(), 'late', 'o', 't', 'yes', 41, 1, "
                "sleepEachRow(3) FROM numbers(1)",
            ),
        )
        slow.start()
        running = (
            "SELECT count() FROM system.processes WHERE query_kind = 'Insert' "
            "AND query LIKE '%sleepEachRow(3)%' AND elapsed > 0.1"
        )
        while not looker.rows(running)[0][0]:
            assert slow.is_alive()
            time.sleep(0.02)

        gone = truncate(warehouse, tables)
        slow.join(timeout=600)

        assert gone.rows_late == 1
        assert (gone.rows_before, gone.rows_removed, gone.rows_left) == (2, 2, 0)
        assert gone.backup is not None
        assert ids(warehouse, tables, gone.backup) == ["f1", "late"]
        assert ids(warehouse, tables) == []
    finally:
        warehouse.command(f"DROP DATABASE IF EXISTS {tables.database} SYNC")
        for opened in (warehouse, writer, looker):
            opened.close()


# Older than T


def test_before_takes_what_is_older_and_nothing_else(warehouse: Warehouse, tables: Tables) -> None:
    cut = TRADED + timedelta(microseconds=1)
    migrated(warehouse, tables)
    warehouse.command(f"SYSTEM STOP MERGES {tables.name()}")
    for entry in (
        row("older"),
        row("at", ts=cut),
        row("newer", ts=cut + DAY),
        row("was older", ts=cut - DAY, version=1),
        row("was older", ts=cut + DAY, version=2),
        row("was newer", ts=cut + DAY, version=1),
        row("was newer", ts=cut - DAY, version=2),
        by_engine("", ts=cut - DAY),
        by_engine("", ts=cut + DAY),
    ):
        insert(warehouse, tables, [entry])

    done = truncate(warehouse, tables, TruncateRequest(before=cut))

    assert ids(warehouse, tables) == ["", "at", "newer", "was older"]
    assert done.backup is not None
    assert ids(warehouse, tables, done.backup) == ["", "older", "was newer"]
    assert done.removed == [Removed("older", 3)]
    assert (done.rows_before, done.rows_removed, done.rows_left) == (7, 3, 4)


def test_before_then_sync_leaves_no_hole(
    target: Target, cli: Cli, serve: Serve, now: datetime
) -> None:
    account = generate_account(8, 300, start=now - 30 * DAY, end=now - HOUR, eras="current")
    exchange = serve(account, cutoff=now - 20 * DAY)
    cli("migrate", url=target.url)
    cli("sync", url=target.url, api=exchange.url)
    before = _stored(target)
    assert before == truth(account, now - 20 * DAY)
    cut = now - 10 * DAY

    done = cli(
        *("truncate", "--before", cut.isoformat(), "--yes", "--format", "json"), url=target.url
    )

    assert done.code == 0, done.err
    gone = [fill for fill in account.fills if fill.executed_at_us < cut.timestamp() * 1e6]
    assert 0 < len(gone) < 300
    assert done.json["rows_removed"] == len(gone)
    oldest = min(fill.executed_at_us for fill in gone) // 1_000_000
    assert done.json["watermark"] == _instant(datetime.fromtimestamp(oldest, UTC))
    assert _stored(target) != before
    again = cli("sync", "--format", "json", url=target.url, api=exchange.url)
    assert again.code == 0, again.err
    assert again.json["stages"]["n_new"] == len(gone)
    assert again.json["breaks"] == []
    assert _stored(target) == before


def _stored(target: Target) -> list[Row]:
    rows = target.read(f"SELECT {TRUTH_COLUMNS} FROM DB.mm_fills FINAL")
    return sorted(rows, key=lambda found: found[:2])


def _instant(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def test_truncate_then_sync_is_the_exchange_s_truth(
    target: Target, cli: Cli, serve: Serve, now: datetime
) -> None:
    account = generate_account(9, 200, start=now - 9 * DAY, end=now - HOUR, eras="current")
    exchange = serve(account)
    cli("migrate", url=target.url)
    assert cli("sync", url=target.url, api=exchange.url).code == 0

    done = cli("truncate", "--yes", "--format", "json", url=target.url)

    assert done.code == 0, done.err
    assert done.json["watermark"] is None
    assert done.json["next"] == "kalshi-fills sync"
    again = cli(
        *done.json["next"].split()[1:], "--format", "json", url=target.url, api=exchange.url
    )
    assert again.json["stages"]["n_new"] == 200
    assert _stored(target) == truth(account)
    assert target.read("SELECT count() FROM DB.mm_fills_runs FINAL") == [(3,)]


@dataclass
class Case:
    """What is in the table, what is asked for, and where the watermark is afterwards."""

    request: TruncateRequest
    rows: list[dict[str, object]]
    after: datetime | None
    mark: datetime | None = NOW - HOUR


OLD = TRADED.replace(microsecond=123_456)


CASES = {
    "everything": Case(EVERYTHING, [row("f1")], None),
    "before": Case(
        TruncateRequest(before=NOW), [row("f1", ts=OLD), row("f2")], TRADED.replace(microsecond=0)
    ),
    "before, of both tiers": Case(
        TruncateRequest(before=NOW),
        [row("f1", ts=OLD - DAY, source="historical"), row("f2")],
        (OLD - DAY).replace(microsecond=0),
    ),
    "before, of an engine too": Case(
        TruncateRequest(before=NOW), [row("f1", ts=OLD), by_engine("f2")], None
    ),
    "before, carried over": Case(TruncateRequest(before=NOW), [row("f1", source="legacy")], None),
    "before, never past the watermark there is": Case(
        TruncateRequest(before=NOW), [row("f1")], TRADED - DAY, mark=TRADED - DAY
    ),
    "before, where there was none": Case(TruncateRequest(before=NOW), [row("f1")], None, mark=None),
    "garbage of an engine": Case(GARBAGE, [by_engine("f1", size=Decimal(0))], NOW - HOUR),
    "a repeat": Case(GARBAGE, [row("f1"), row("f1", market_ticker="other")], NOW - HOUR),
    "a sync's row that was changed by hand": Case(GARBAGE, [row("f1", size=Decimal(0))], None),
}


# The watermark


@pytest.mark.sampled(7)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_watermark_is_rewound_to_what_must_be_read_again(
    warehouse: Warehouse, tables: Tables, case: Case
) -> None:
    migrated(warehouse, tables, *case.rows)
    synced_until(warehouse, tables, case.mark)

    planned = plan_truncation(place_of(warehouse, tables, uuid.uuid4(), NOW), case.request)
    done = truncate(warehouse, tables, case.request)

    assert done.rows_removed > 0
    assert (planned.watermark, done.watermark) == (case.after, case.after)
    assert watermark(warehouse, tables) == case.after
    assert done.watermark_before == case.mark


def test_a_ledger_written_by_a_clock_that_is_ahead_is_rewound_too(
    warehouse: Warehouse, tables: Tables
) -> None:
    migrated(warehouse, tables, row("f1"))
    synced_until(warehouse, tables, NOW, at=NOW + DAY)

    truncate(warehouse, tables)

    assert watermark(warehouse, tables) is None


def test_restoring_an_old_backup_leaves_no_hole_behind_it(
    warehouse: Warehouse, tables: Tables
) -> None:
    migrated(warehouse, tables, row("f1"))
    gone = truncate(warehouse, tables)
    insert(warehouse, tables, [row("f1"), row("f2")])
    synced_until(warehouse, tables, NOW, at=NOW + HOUR)
    warehouse.command(f"TRUNCATE TABLE {tables.name()}")

    truncate(warehouse, tables, TruncateRequest(restore=gone.backup))

    assert ids(warehouse, tables) == ["f1"]
    assert watermark(warehouse, tables) is None


@pytest.mark.parametrize("what", ["everything", "before"])
def test_a_sync_at_work_elsewhere_does_not_pass_what_was_removed(bench: Bench, what: str) -> None:
    account = generate_account(4, 500, start=NOW - 20 * DAY, end=NOW - HOUR, eras="current")
    bench.serve(account)
    bench.run(until=NOW - 5 * DAY)
    cut = NOW - 10 * DAY
    request = EVERYTHING if what == "everything" else TruncateRequest(before=cut)
    done: list[TruncationReport] = []

    def truncate_once(_: object) -> None:
        if not done:
            done.append(truncate(bench.warehouse, bench.tables, request))

    bench.clock.now = NOW + timedelta(minutes=1)
    meanwhile = bench.run(progress=truncate_once)

    assert done[0].rows_removed > 0
    assert meanwhile.watermark == done[0].watermark
    bench.clock.now = NOW + HOUR
    bench.run()
    assert bench.fills() == truth(account)


def test_a_first_sync_elsewhere_does_not_claim_what_was_removed(bench: Bench) -> None:
    """There is no watermark to rewind, but the one it would write must not count."""
    account = generate_account(4, 500, start=NOW - 20 * DAY, end=NOW - HOUR, eras="current")
    bench.serve(account)
    insert(bench.warehouse, bench.tables, [by_engine("engine's")])
    done: list[TruncationReport] = []

    def truncate_once(_: object) -> None:
        if not done:
            done.append(truncate(bench.warehouse, bench.tables))

    assert bench.run(progress=truncate_once).watermark is None
    assert done


def test_a_run_of_another_host_is_told_of(warehouse: Warehouse, tables: Tables) -> None:
    migrated(warehouse, tables, row("f1"))
    run_id = uuid.uuid4()
    run = Run(run_id, "running", NOW, None, None, NOW, None, Counts(), "far away", 1)
    FillStore(warehouse, tables, run_id, NOW, dry_run=False).record(run, NOW)

    assert truncate(warehouse, tables).other_hosts == ["far away"]
