"""What truncate takes away, what it leaves, what it keeps, and what it refuses to touch."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pty
import re
import select
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.clickhouse_server import ClickHouseServer
from support.commandline import KEY_ID, ROOT, Account, Done, ServerWithUsers, Target
from support.legacy import (
    LEGACY,
    Users,
    content,
    legacy_row,
    make,
    names_there,
    snapshot,
)
from support.syncing import TRUTH_COLUMNS, Bench, truth

from kalshi_fills.errors import SchemaError, SettingsError, WarehouseError
from kalshi_fills.migrate.run import migrate
from kalshi_fills.pipeline.stages import Counts
from kalshi_fills.practice.account import generate_account, incident_rows
from kalshi_fills.practice.exchange import PracticeExchange
from kalshi_fills.truncate.backups import backups
from kalshi_fills.truncate.place import place_of
from kalshi_fills.truncate.plan import Removed, TruncateRequest, TruncationReport, plan_truncation
from kalshi_fills.truncate.run import truncate as remove_rows
from kalshi_fills.warehouse.client import Row, TextTable, Value, Warehouse
from kalshi_fills.warehouse.grants import TO_EMPTY, TO_EXCHANGE
from kalshi_fills.warehouse.runs import Run
from kalshi_fills.warehouse.schema import require_today
from kalshi_fills.warehouse.server import open_server
from kalshi_fills.warehouse.statements import Tables
from kalshi_fills.warehouse.store import FillStore
from kalshi_fills.warehouse.there import columns

Cli = Callable[..., Done]
Serve = Callable[..., PracticeExchange]

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
TRADED = NOW - timedelta(days=2)
ORDER = "11111111-2222-3333-4444-555555555555"
TICKER = "KXHIGHNY-26NOV20-B52.5"
DECISION = uuid.UUID(int=77)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

EVERYTHING = TruncateRequest()
GARBAGE = TruncateRequest(garbage=True)

_serial = itertools.count(1)


def row(fill_id: str, **changes: object) -> dict[str, object]:
    """A row of today's table: a valid fill that a sync wrote, unless told otherwise."""
    return {
        "ts": TRADED,
        "fill_id": fill_id,
        "exchange_order_id": ORDER,
        "market_ticker": TICKER,
        "side": "yes",
        "price_cents": Decimal("41"),
        "size": Decimal("10"),
        "source": "live",
        "version": 5,
        "raw_json": "{}",
        "client_order_id": "",
        "decision_id": uuid.UUID(int=0),
        **changes,
    }


def by_engine(fill_id: str, **changes: object) -> dict[str, object]:
    """A row that an engine wrote by itself."""
    return row(fill_id, **{"source": "", "version": 0, **changes})


def payload(fill_id: str, order: str = ORDER, key: str = "fill_id") -> str:
    return json.dumps({key: fill_id, "order_id": order})


def insert(warehouse: Warehouse, tables: Tables, rows: Iterable[Mapping[str, object]]) -> None:
    """Insert rows, those of the same columns as one part."""
    for names, alike in itertools.groupby(rows, key=lambda entry: tuple(entry)):
        warehouse.insert(tables.name(), names, [tuple(entry.values()) for entry in alike])


def migrated(warehouse: Warehouse, tables: Tables, *rows: Mapping[str, object]) -> None:
    """Make today's tables, with these rows, each a part of its own."""
    migrate(warehouse, tables, NOW)
    for entry in rows:
        insert(warehouse, tables, [entry])


def truncate(
    warehouse: Warehouse,
    tables: Tables,
    request: TruncateRequest = EVERYTHING,
    now: datetime | None = None,
) -> TruncationReport:
    """Run one, a second after the one before, as a person would at the earliest."""
    at = now or NOW + next(_serial) * timedelta(seconds=1)
    return remove_rows(place_of(warehouse, tables, uuid.uuid4(), at), request)


def ids(warehouse: Warehouse, tables: Tables, name: str | None = None) -> list[str]:
    table = tables.name() if name is None else f"{tables.database}.{name}"
    return [found[0] for found in warehouse.rows(f"SELECT fill_id FROM {table} FINAL ORDER BY 1")]


def watermark(warehouse: Warehouse, tables: Tables) -> datetime | None:
    return FillStore(warehouse, tables, uuid.uuid4(), NOW, dry_run=False).last_watermark()


def synced_until(
    warehouse: Warehouse, tables: Tables, mark: datetime | None, at: datetime = NOW
) -> None:
    """Write the ledger entry of a sync."""
    run_id = uuid.uuid4()
    run = Run(run_id, "done", at, at, None, at, mark, Counts(), "elsewhere", 1)
    FillStore(warehouse, tables, run_id, at, dry_run=False).record(run, at)


def leftovers(warehouse: Warehouse, tables: Tables) -> set[str]:
    return {name for name in names_there(warehouse, tables) if "__" in name}


@pytest.fixture
def bench(warehouse: Warehouse, tables: Tables, api_key: Account, serve: Serve) -> Bench:
    return Bench(warehouse, tables, api_key, serve)


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
                "sleepEachRow(2) FROM numbers(1)",
            ),
        )
        slow.start()
        running = (
            "SELECT count() FROM system.processes WHERE query_kind = 'Insert' "
            "AND query LIKE '%sleepEachRow(2)%' AND elapsed > 0.3"
        )
        while not looker.rows(running)[0][0]:
            time.sleep(0.02)

        gone = truncate(warehouse, tables)
        slow.join(timeout=60)

        assert gone.rows_late == 1
        assert (gone.rows_before, gone.rows_removed, gone.rows_left) == (2, 2, 0)
        assert gone.backup is not None
        assert ids(warehouse, tables, gone.backup) == ["f1", "late"]
        assert ids(warehouse, tables) == []
    finally:
        warehouse.command(f"DROP DATABASE IF EXISTS {tables.database} SYNC")
        for opened in (warehouse, writer, looker):
            opened.close()


# Garbage

HOSTILE = "x`; DROP TABLE y; -- \\ '\" {a:String} \t\n\0 é\U0001f9ff"

INVALID: dict[str, tuple[dict[str, object], str]] = {
    "price 0": ({"price_cents": Decimal(0)}, "price_out_of_range"),
    "price below 0": ({"price_cents": Decimal("-1")}, "price_out_of_range"),
    "price of a dollar": ({"price_cents": Decimal(100)}, "price_out_of_range"),
    "size 0": ({"size": Decimal(0)}, "quantity_out_of_range"),
    "size below 0": ({"size": Decimal("-0.01")}, "quantity_out_of_range"),
    "no side": ({"side": ""}, "side_out_of_range"),
    "another side": ({"side": HOSTILE}, "side_out_of_range"),
    "side in capitals": ({"side": "YES"}, "side_out_of_range"),
    "no order": ({"exchange_order_id": ""}, "no_order_id"),
    "no ticker": ({"market_ticker": ""}, "ticker_empty"),
    "before there was an exchange": (
        {"ts": datetime(2020, 12, 31, tzinfo=UTC)},
        "time_too_early",
    ),
    "1970": ({"ts": datetime(1970, 1, 1, tzinfo=UTC)}, "time_too_early"),
    "in the future": ({"ts": NOW + HOUR}, "time_in_the_future"),
    "no id": ({"fill_id": ""}, "id_empty"),
    "no id, and no JSON": ({"fill_id": "", "raw_json": HOSTILE}, "id_empty"),
    "no id, and that of another order": (
        {"fill_id": "", "raw_json": payload("f9", order="other")},
        "id_empty",
    ),
    "no id, and an empty one": ({"fill_id": "", "raw_json": payload("")}, "id_empty"),
    "no id, and JSON that is no object": ({"fill_id": "", "raw_json": '["f9"]'}, "id_empty"),
}
VALID: dict[str, dict[str, object]] = {
    "lowest price": {"price_cents": Decimal("0.0001")},
    "highest price": {"price_cents": Decimal("99.9999")},
    "smallest size": {"size": Decimal("0.01")},
    "the other side": {"side": "no"},
    "just now": {"ts": NOW + timedelta(minutes=4)},
    "another order": {"exchange_order_id": "other"},
    "hostile strings": {
        "fill_id": HOSTILE,
        "exchange_order_id": HOSTILE,
        "market_ticker": HOSTILE,
        "raw_json": HOSTILE,
        "client_order_id": HOSTILE,
    },
}


def test_garbage_goes_by_its_reason_and_every_valid_fill_stays(
    warehouse: Warehouse, tables: Tables
) -> None:
    valid = [row(f"valid {name}") | changes for name, changes in VALID.items()]
    invalid = [row(f"invalid {name}") | changes for name, (changes, _) in INVALID.items()]
    invalid += [by_engine(f"engine's {name}") | entry for name, (entry, _) in INVALID.items()]
    migrated(warehouse, tables, *valid, *invalid)
    stays = warehouse.rows(
        f"SELECT * FROM {tables.name()} FINAL WHERE fill_id LIKE 'valid%' "
        "OR fill_id = {hostile:String} ORDER BY ALL",
        {"hostile": HOSTILE},
    )
    assert len(stays) == len(valid)
    everything = content(warehouse, tables.name())

    done = truncate(warehouse, tables, GARBAGE, NOW)

    assert content(warehouse, tables.name()) == sorted(stays, key=repr)
    assert done.backup is not None
    backup = f"{tables.database}.{done.backup}"
    assert sorted(content(warehouse, backup) + stays, key=repr) == everything
    expected: dict[str, int] = {}
    for _, reason in INVALID.values():
        expected[reason] = expected.get(reason, 0) + 2
    assert done.removed == [Removed(name, rows) for name, rows in sorted(expected.items())]
    assert done.rows_removed == len(invalid)
    assert (done.rows_before, done.rows_left) == (len(valid + invalid), len(valid))
    require_today(warehouse, tables)
    assert leftovers(warehouse, tables) == set()


def test_of_a_fill_under_two_tickers_the_highest_version_stays(
    warehouse: Warehouse, tables: Tables
) -> None:
    migrated(
        warehouse,
        tables,
        row("f1", market_ticker="old", version=5),
        row("f1", market_ticker="new", version=9),
        by_engine("f1", market_ticker="engine's"),
        row("f1", market_ticker="broken", version=99, price_cents=Decimal(0)),
        row("f1", exchange_order_id="the other side of the trade"),
    )
    synced_until(warehouse, tables, NOW)

    done = truncate(warehouse, tables, GARBAGE)

    assert done.removed == [Removed("price_out_of_range", 1), Removed("repeat", 2)]
    assert warehouse.rows(
        f"SELECT market_ticker, exchange_order_id FROM {tables.name()} ORDER BY ALL"
    ) == [(TICKER, "the other side of the trade"), ("new", ORDER)]


def test_an_id_in_the_payload_is_a_repeat_or_the_fill_itself(
    warehouse: Warehouse, tables: Tables
) -> None:
    links = {"client_order_id": "mine", "decision_id": DECISION}
    migrated(
        warehouse,
        tables,
        row("known"),
        by_engine("", raw_json=payload("known"), **links),
        by_engine("", raw_json=payload("lost"), price_cents=Decimal("40")),
        by_engine("", raw_json=payload("lost"), price_cents=Decimal("42"), **links),
        by_engine("", raw_json=payload("lost"), price_cents=Decimal("43")),
        by_engine("", raw_json=payload("traded", key="trade_id")),
        by_engine("", raw_json=payload("known", order="o2"), exchange_order_id="o2"),
        by_engine("", raw_json=payload("free"), price_cents=Decimal(0)),
        row("broken", price_cents=Decimal(0), version=3),
        by_engine("", raw_json=payload("broken"), price_cents=Decimal("44")),
    )
    everything = content(warehouse, tables.name())

    done = truncate(warehouse, tables, GARBAGE)

    assert warehouse.rows(
        "SELECT fill_id, exchange_order_id, price_cents, source, version, client_order_id, "
        f"decision_id FROM {tables.name()} FINAL ORDER BY 1, 2"
    ) == [
        ("broken", ORDER, Decimal("44"), "legacy", 0, "", uuid.UUID(int=0)),
        ("known", ORDER, Decimal("41"), "live", 5, "", uuid.UUID(int=0)),
        ("known", "o2", Decimal("41"), "legacy", 0, "", uuid.UUID(int=0)),
        ("lost", ORDER, Decimal("42"), "legacy", 0, "mine", DECISION),
        ("traded", ORDER, Decimal("41"), "legacy", 0, "", uuid.UUID(int=0)),
    ]
    assert done.rows_repaired == 4
    assert done.removed == [Removed("price_out_of_range", 2), Removed("repeat", 3)]
    assert (done.rows_before, done.rows_removed, done.rows_left) == (10, 5, 5)
    assert done.backup is not None
    backup = content(warehouse, f"{tables.database}.{done.backup}")
    assert len(backup) == 5
    assert all(kept in everything for kept in backup)
    again = truncate(warehouse, tables, GARBAGE)
    assert not again.acted


def test_ids_alone_to_be_mended_leave_no_backup(warehouse: Warehouse, tables: Tables) -> None:
    migrated(warehouse, tables, row("f1"), by_engine("", raw_json=payload("f2")))

    done = truncate(warehouse, tables, GARBAGE)

    assert (done.rows_removed, done.rows_repaired, done.backup, done.backups) == (0, 1, None, [])
    assert ids(warehouse, tables) == ["f1", "f2"]
    assert leftovers(warehouse, tables) == set()


def test_what_stays_keeps_every_version_and_the_one_that_counts(
    warehouse: Warehouse, tables: Tables
) -> None:
    """An engine's row that a sync replaced may hold a link that only the next sync takes over."""
    own = ("desk", "reason", "row_digest", "__from")
    versions = [row("f1"), by_engine("f1", decision_id=DECISION), row("f1", version=4)]
    ties = [by_engine("f2", client_order_id=f"row {number}") for number in range(9)]
    migrated(warehouse, tables)
    warehouse.command(f"SYSTEM STOP MERGES {tables.name()}")
    for name in own:
        warehouse.command(f"ALTER TABLE {tables.name()} ADD COLUMN {name} String AFTER ts")
    for entry in (*versions, *ties, row("junk", size=Decimal(0))):
        insert(warehouse, tables, [entry | {name: f"{name} {entry}" for name in own}])
    counts = warehouse.rows(
        f"SELECT * FROM {tables.name()} FINAL WHERE fill_id != 'junk' ORDER BY ALL"
    )

    truncate(warehouse, tables, GARBAGE)

    assert warehouse.rows(f"SELECT * FROM {tables.name()} FINAL ORDER BY ALL") == counts
    linked = warehouse.rows(f"SELECT fill_id FROM {tables.name()} WHERE decision_id = '{DECISION}'")
    assert linked == [("f1",)]
    warehouse.command(f"OPTIMIZE TABLE {tables.name()} FINAL")
    assert warehouse.rows(f"SELECT * FROM {tables.name()} ORDER BY ALL") == counts


def test_a_link_of_a_replaced_row_outlives_a_garbage_run(bench: Bench) -> None:
    account = generate_account(3, 20, start=NOW - 3 * DAY, end=NOW - DAY, eras="current")
    bench.serve(account)
    bench.run()
    fill = account.fills[0]
    insert(
        bench.warehouse,
        bench.tables,
        [
            by_engine(
                fill.fill_id,
                exchange_order_id=fill.order_id,
                market_ticker=fill.ticker,
                decision_id=DECISION,
            ),
            by_engine("", price_cents=Decimal(0)),
        ],
    )

    truncate(bench.warehouse, bench.tables, GARBAGE)
    bench.run(full=True)

    linked = f"WHERE decision_id = '{DECISION}'"
    assert bench.rows("fill_id, source", more=linked) == [(fill.fill_id, "live")]


def test_the_incident_s_garbage_goes_and_its_five_fills_stay(
    target: Target, cli: Cli, serve: Serve, now: datetime
) -> None:
    rows = incident_rows(now)
    names = list(rows[0])
    assert cli("migrate", url=target.url).code == 0
    lines = "\n".join(json.dumps(entry, default=_plain) for entry in rows)
    target.read(
        f"INSERT INTO DB.mm_fills ({', '.join(names)}) "
        "SELECT parseDateTime64BestEffort(JSONExtractString(line, 'ts'), 6, 'UTC'), "
        + ", ".join(f"JSONExtract(line, '{name}', '{kind}')" for name, kind in _KINDS.items())
        + " FROM (SELECT arrayJoin(splitByChar('\\n', {lines:String})) AS line)",
        lines=lines,
    )

    planned = cli("truncate", "--garbage", "--dry-run", "--format", "json", url=target.url)
    done = cli("truncate", "--garbage", "--yes", "--format", "json", url=target.url)

    assert (planned.code, done.code) == (0, 0), done.err
    told = done.json
    assert told["rows_before"] == len(rows) == told["rows_removed"] + told["rows_left"]
    assert told["rows_left"] == 5
    assert planned.json["rows_removed"] == told["rows_removed"] == len(rows) - 5
    assert target.read(
        "SELECT count(), uniqExact(fill_id, exchange_order_id), min(price_cents) > 0 "
        "FROM DB.mm_fills FINAL"
    ) == [(5, 5, 1)]
    assert target.read(f"SELECT count() FROM DB.{told['backup']} FINAL") == [(len(rows) - 5,)]


_KINDS = {
    "engine_instance_id": "String",
    "engine_version": "String",
    "market_ticker": "String",
    "exchange_order_id": "String",
    "client_order_id": "String",
    "side": "String",
    "price": "Float64",
    "price_cents": "UInt16",
    "size": "UInt32",
    "fee": "Float64",
    "decision_id": "UUID",
    "raw_json": "String",
}


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


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


# The watermark


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


@pytest.mark.sampled(3)
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


# While others write, and after a kill


JUDGES = "note of each row whether it goes"
"""In the title of the statements that judge the rows."""


class Meddled:
    """A warehouse on which something happens after each statement that writes."""

    def __init__(self, warehouse: Warehouse, meddle: Callable[[str], None]) -> None:
        self._warehouse = warehouse
        self._meddle = meddle

    def rows(
        self,
        sql: str,
        params: Mapping[str, Value] | None = None,
        *,
        wanted: TextTable | None = None,
    ) -> list[Row]:
        return self._warehouse.rows(sql, params, wanted=wanted)

    def command(self, sql: str, params: Mapping[str, Value] | None = None) -> None:
        self._warehouse.command(sql, params)
        self._meddle(sql)

    def insert(self, table: str, names: Sequence[str], rows: Sequence[Sequence[Value]]) -> None:
        self._warehouse.insert(table, names, rows)
        self._meddle(table)

    def close(self) -> None:
        self._warehouse.close()


MODES = {
    "everything": EVERYTHING,
    "garbage": GARBAGE,
    "before": TruncateRequest(before=TRADED + HOUR),
}


def _mixed() -> list[dict[str, object]]:
    """What each mode removes some of: valid, invalid, repeated, mended, old and new."""
    return [
        row("old"),
        row("old", version=1),
        row("new", ts=NOW - HOUR),
        row("twice", market_ticker="a", ts=NOW - HOUR),
        row("twice", market_ticker="b", ts=NOW - HOUR, version=9),
        by_engine("junk", price_cents=Decimal(0), client_order_id="junk"),
        by_engine("", raw_json=payload("mended"), client_order_id="mended"),
        by_engine("", client_order_id="lost"),
    ]


def _everywhere(warehouse: Warehouse, tables: Tables, what: str = "client_order_id") -> list[Any]:
    """Give a column of all rows, of the table and of its backups."""
    names = [tables.fills, *(backup.name for backup in backups(warehouse, tables))]
    return [
        found[0]
        for name in names
        for found in warehouse.rows(f"SELECT {what} FROM {tables.database}.{name} FINAL")
    ]


@pytest.mark.parametrize("request_", MODES.values(), ids=MODES.keys())
def test_rows_that_come_after_any_statement_are_not_lost(
    warehouse: Warehouse, tables: Tables, request_: TruncateRequest
) -> None:
    migrated(warehouse, tables, *_mixed())
    written: list[str] = []
    stays: set[str] = set()

    def write(sql: str) -> None:
        number = len(written)
        valid = by_engine(f"late {number}", client_order_id=f"valid {number}", ts=NOW - HOUR)
        junk = by_engine("", client_order_id=f"junk {number}", size=Decimal(0), ts=NOW - HOUR)
        again = row("old", version=2, client_order_id=f"again {number}")
        insert(warehouse, tables, [valid, junk, again])
        written.extend((f"valid {number}", f"junk {number}"))
        stays.add(f"valid {number}")
        if JUDGES in sql or len(stays) > 2:  # what comes later is not judged any more
            stays.add(f"junk {number}")

    done = truncate(Meddled(warehouse, write), tables, request_)

    assert len(written) > 4
    found = _everywhere(warehouse, tables)
    assert sorted(found.count(text) for text in written) == [1] * len(written)
    assert done.rows_before == done.rows_removed + done.rows_left
    assert leftovers(warehouse, tables) == set()
    if request_ is not EVERYTHING:
        stayed = {
            found[0] for found in warehouse.rows(f"SELECT client_order_id FROM {tables.name()}")
        }
        assert stays <= stayed


def test_a_correction_that_comes_late_stays(warehouse: Warehouse, tables: Tables) -> None:
    broken = {"price_cents": Decimal(0)}
    migrated(warehouse, tables, by_engine("f1", **broken), by_engine("f3", **broken), row("f2"))

    def correct(sql: str) -> None:
        if JUDGES in sql:
            insert(warehouse, tables, [row("f1", version=9)])

    done = truncate(Meddled(warehouse, correct), tables, GARBAGE)

    assert ids(warehouse, tables) == ["f1", "f2"]
    assert done.backup is not None
    assert ids(warehouse, tables, done.backup) == ["f1", "f3"]


@pytest.mark.parametrize("keep", [True, False], ids=["with a backup", "without"])
def test_the_old_table_is_kept_whole_where_a_row_of_it_is_nowhere_else(
    warehouse: Warehouse, tables: Tables, keep: bool
) -> None:
    migrated(warehouse, tables, row("f1"), row("f2"), row("junk", size=Decimal(0)))

    def lose(sql: str) -> None:
        if "EXCHANGE" in sql:
            warehouse.command(
                f"ALTER TABLE {tables.name()} DELETE WHERE fill_id = 'f1' "
                "SETTINGS mutations_sync = 2"
            )

    done = truncate(Meddled(warehouse, lose), tables, GARBAGE._replace(keep=keep))

    assert done.backup_holds_all_rows
    assert done.backup is not None
    assert ids(warehouse, tables, done.backup) == ["f1", "f2", "junk"]
    assert leftovers(warehouse, tables) == set()


def test_a_row_that_comes_into_the_empty_table_at_a_restore_is_not_lost(
    warehouse: Warehouse, tables: Tables
) -> None:
    migrated(warehouse, tables, row("f1"))
    gone = truncate(warehouse, tables)
    assert gone.backup is not None
    name = gone.backup

    def write(sql: str) -> None:
        if "EXCHANGE" in sql:  # its insert began before, and ends in the table of then
            values = tuple(row("late").values())
            warehouse.insert(f"{tables.database}.{name}", tuple(row("late")), [values])

    back = truncate(Meddled(warehouse, write), tables, TruncateRequest(restore=name))

    assert ids(warehouse, tables) == ["f1", "late"]
    assert (back.rows_late, back.rows_restored) == (1, 2)
    assert backups(warehouse, tables) == []


ALL_BUT_MENDED = "toString(tuple(* EXCEPT (fill_id, source, content_hash, version)))"
"""A whole row but what changes where its id is mended."""


class _KilledError(BaseException):
    """Stands for kill -9: nothing catches it."""


def _killed_after(warehouse: Warehouse, statements: int) -> Meddled:
    left = itertools.count(statements - 1, -1)

    def die(_: str) -> None:
        if next(left) <= 0:
            raise _KilledError

    return Meddled(warehouse, die)


FOR_GOOD = {
    f"{name}, for good": MODES[name]._replace(keep=False) for name in ("everything", "before")
}


@pytest.mark.sampled(7)
@pytest.mark.parametrize("request_", [*MODES.values(), *FOR_GOOD.values()], ids=[*MODES, *FOR_GOOD])
def test_a_run_killed_after_any_statement_is_ended_right_by_the_next(
    warehouse: Warehouse, tables: Tables, request_: TruncateRequest
) -> None:
    keep = request_.keep
    for killed in itertools.count(1):
        where = f"killed after statement {killed}"
        warehouse.command(f"DROP DATABASE IF EXISTS {tables.database} SYNC")
        migrated(warehouse, tables)
        insert(warehouse, tables, _mixed())
        synced_until(warehouse, tables, NOW)
        rows = set(_everywhere(warehouse, tables, ALL_BUT_MENDED))
        try:
            last = truncate(_killed_after(warehouse, killed), tables, request_)
        except _KilledError:
            pass
        else:
            break
        if keep:
            now_there = set(_rows_anywhere(warehouse, tables))
            assert rows <= now_there, where
        mark = watermark(warehouse, tables)
        require_today(warehouse, tables)
        if len(ids(warehouse, tables)) < len(rows) - 1 and request_.garbage is False:
            assert mark is None or mark <= TRADED, where

        done = truncate(warehouse, tables, request_)

        assert leftovers(warehouse, tables) == set(), where
        assert done.rows_before == done.rows_removed + done.rows_left
        kept = [backup for backup in backups(warehouse, tables) if backup.rows]
        assert len(kept) == (1 if keep or len(kept) else 0), where
        if keep:
            assert set(_everywhere(warehouse, tables, ALL_BUT_MENDED)) >= rows, where
        require_today(warehouse, tables)
        assert not truncate(warehouse, tables, request_).acted, where
    assert killed > (2 if request_.what == "everything" else 8)
    assert last.acted


def _rows_anywhere(warehouse: Warehouse, tables: Tables) -> list[Any]:
    names = [
        name
        for name in names_there(warehouse, tables)
        if name == tables.fills or "_backup_" in name or ("__" in name and "verdicts" not in name)
    ]
    return [
        found[0]
        for name in names
        for found in warehouse.rows(f"SELECT {ALL_BUT_MENDED} FROM {tables.database}.{name} FINAL")
    ]


def test_a_restore_killed_after_any_statement_is_ended_right_by_the_next(
    warehouse: Warehouse, tables: Tables
) -> None:
    for killed in itertools.count(1):
        warehouse.command(f"DROP DATABASE IF EXISTS {tables.database} SYNC")
        migrated(warehouse, tables, row("f1"), row("f2"))
        gone = truncate(warehouse, tables)
        request = TruncateRequest(restore=gone.backup)
        try:
            truncate(_killed_after(warehouse, killed), tables, request)
        except _KilledError:
            pass
        else:
            break
        with contextlib.suppress(SettingsError):  # it may be done
            truncate(warehouse, tables, request)
        assert ids(warehouse, tables) == ["f1", "f2"]
    assert killed > 2


def test_an_empty_table_under_a_backup_s_name_is_dropped_by_the_next_run(
    warehouse: Warehouse, tables: Tables
) -> None:
    migrated(warehouse, tables, row("f1"))
    left = tables.name("_backup_20261101T000000Z")
    warehouse.command(f"CREATE TABLE {left} AS {tables.name()}")

    done = truncate(warehouse, tables)

    assert [backup.name for backup in done.backups] == [done.backup]
    assert "held no row and was dropped" in done.unfinished[0]


def test_what_somebody_changed_beside_a_killed_run_is_kept_whole(
    warehouse: Warehouse, tables: Tables
) -> None:
    migrated(warehouse, tables, *_mixed())
    exchanged = _killed_after(warehouse, 1)
    after = itertools.count(1)
    for statements in after:  # until it dies just after the exchange
        exchanged = _killed_after(warehouse, statements)
        with contextlib.suppress(_KilledError):
            truncate(exchanged, tables, GARBAGE)
        left = [name for name in leftovers(warehouse, tables) if "verdicts" not in name]
        if left and len(ids(warehouse, tables)) < 7:
            break
    (old,) = left
    rows = content(warehouse, f"{tables.database}.{old}")
    warehouse.command(f"ALTER TABLE {tables.name()} ADD COLUMN desk String")

    done = truncate(warehouse, tables, GARBAGE)

    kept = [backup for backup in backups(warehouse, tables) if backup.rows]
    assert leftovers(warehouse, tables) == set()
    assert len(kept) == 1
    assert content(warehouse, f"{tables.database}.{kept[0].name}") == rows
    assert kept[0].name in done.unfinished[0]


@pytest.mark.server
def test_beside_an_engine_that_never_stops_garbage_goes_and_nothing_else(
    server: ClickHouseServer,
) -> None:
    tables = Tables(f"truncate_live_{os.getpid()}")
    warehouse = open_server(server.url("default"))
    end, acknowledged, errors = threading.Event(), [], []

    def write() -> None:
        engine = open_server(server.url("default"))
        for number in itertools.count():
            if end.is_set():
                break
            junk = number % 2
            entry = legacy_row(
                number,
                client_order_id=f"written {number}",
                price=0.0 if junk else 0.41,
                price_cents=0 if junk else 41,
            )
            try:
                engine.insert(tables.name(), tuple(entry), [tuple(entry.values())])
            except WarehouseError as error:
                errors.append(error)
            acknowledged.append(f"written {number}")
        engine.close()

    try:
        migrated(warehouse, tables)
        warehouse.command(
            f"INSERT INTO {tables.name()} (ts, fill_id, exchange_order_id, market_ticker, side, "
            "price_cents, size, version) SELECT now() - 60, toString(number), 'o', 't', 'yes', "
            "if(number % 2, 41, 0), 1, 5 FROM numbers(200000)"
        )
        writer = threading.Thread(target=write)
        writer.start()
        time.sleep(0.2)

        done = truncate(warehouse, tables, GARBAGE, datetime.now(UTC))
        end.set()
        writer.join(timeout=60)

        assert errors == []
        assert len(acknowledged) > 20
        found = _everywhere(warehouse, tables)
        by_payload = {text for text in found if text}
        assert set(acknowledged) == by_payload
        assert ids(warehouse, tables).count("") < 100_000
        assert warehouse.rows(
            f"SELECT countIf(price_cents > 0), countIf(price_cents = 0) FROM {tables.name()} FINAL "
            "WHERE version = 5"
        ) == [(100_000, 0)]
        assert done.rows_before == done.rows_removed + done.rows_left
    finally:
        end.set()
        warehouse.command(f"DROP DATABASE IF EXISTS {tables.database} SYNC")
        warehouse.close()


# The backups


def test_backups_are_listed_and_none_is_dropped(
    target: Target, cli: Cli, serve: Serve, now: datetime
) -> None:
    account = generate_account(9, 20, start=now - 9 * DAY, end=now - HOUR)
    exchange = serve(account)
    target.read(f"CREATE DATABASE {target.database}")
    listed = ", ".join(f"{name} {kind}" for name, kind in LEGACY.items())
    target.read(f"CREATE TABLE DB.mm_fills ({listed}) ENGINE = MergeTree ORDER BY ts")
    cli("migrate", url=target.url)
    none = cli("truncate", "--list-backups", url=target.url)
    assert (none.code, "no backups" in none.out) == (0, True)
    names = []
    for _ in range(2):
        cli("sync", url=target.url, api=exchange.url)
        names.append(cli("truncate", "--yes", "--format", "json", url=target.url).json["backup"])

    shown = cli("truncate", "--list-backups", url=target.url, env={"COLUMNS": "80"})
    told = cli("truncate", "--list-backups", "--format", "json", url=target.url).json

    assert [backup["name"] for backup in told["backups"]] == names
    assert told["rows_before"] == told["rows_left"] == 0
    assert (told["rows_removed"], told["backup"]) == (0, None)
    assert len(told["kept_aside"]) == 1
    for backup in told["backups"]:
        assert backup["rows"] == 20
        assert backup["bytes"] > 0
        stamp = backup["name"].removeprefix("mm_fills_backup_")
        assert datetime.fromisoformat(backup["created"]) == datetime.strptime(
            stamp, "%Y%m%dT%H%M%SZ"
        ).replace(tzinfo=UTC)
        assert backup["name"] in shown.out
        assert backup["drop"] in shown.out
    assert "migrate keeps aside, besides: 1" in shown.out
    assert max(len(line) for line in shown.out.splitlines() if "DROP" not in line) <= 80
    target.read(told["backups"][0]["drop"])
    left = cli("truncate", "--list-backups", "--format", "json", url=target.url).json
    assert [backup["name"] for backup in left["backups"]] == names[1:]


def test_backups_of_another_table_are_not_listed(warehouse: Warehouse, tables: Tables) -> None:
    migrated(warehouse, tables, row("f1"))
    other = Tables(tables.database, "mm_fills_backup")
    migrated(warehouse, other, row("f1"))
    gone = truncate(warehouse, other)
    for name in ("_backup_x", "_backup_20261301T000000Z", "_backup_20261101T000000Z_mine"):
        warehouse.command(f"CREATE TABLE {tables.name(name)} AS {tables.name()}")

    assert backups(warehouse, tables) == []
    assert [backup.name for backup in backups(warehouse, other)] == [gone.backup]
    with pytest.raises(SettingsError, match="there is none"):
        truncate(warehouse, tables, TruncateRequest(restore=gone.backup))


def test_a_table_with_an_odd_name_is_truncated_and_restored(
    warehouse: Warehouse, tables: Tables
) -> None:
    odd = Tables(tables.database, "my `odd` fills' \\")
    migrated(warehouse, odd, *_mixed())

    for request in (GARBAGE, TruncateRequest(before=TRADED + HOUR), EVERYTHING):
        done = truncate(warehouse, odd, request)
    back = truncate(warehouse, odd, TruncateRequest(restore=done.backup))

    assert back.rows_restored == done.rows_removed > 0


# Refusals


def _empty_database(warehouse: Warehouse, tables: Tables) -> None:
    warehouse.command(f"CREATE DATABASE {tables.database}")


def _foreign(warehouse: Warehouse, tables: Tables) -> None:
    make(warehouse, tables, {"ts": "DateTime64(3)", "market_ticker": "String"}, engine="Memory")


def _legacy(warehouse: Warehouse, tables: Tables) -> None:
    make(warehouse, tables, rows=[legacy_row(1)])


def _today(warehouse: Warehouse, tables: Tables) -> None:
    migrated(warehouse, tables, row("f1"), row("junk", size=Decimal(0)))
    synced_until(warehouse, tables, NOW)


def _unfinished_migration(warehouse: Warehouse, tables: Tables) -> None:
    _today(warehouse, tables)
    warehouse.command(f"CREATE TABLE {tables.name('__next')} AS {tables.name()}")


def _backup_of_that_name(warehouse: Warehouse, tables: Tables) -> None:
    _today(warehouse, tables)
    name = tables.name(f"_backup_{NOW:%Y%m%dT%H%M%SZ}")
    warehouse.command(f"CREATE TABLE {name} AS {tables.name()}")
    warehouse.command(f"INSERT INTO {name} SELECT * FROM {tables.name()}")


BACKUP = "mm_fills_backup_20261101T000000Z"


def _backup_beside_rows(warehouse: Warehouse, tables: Tables) -> None:
    _today(warehouse, tables)
    name = tables.name(BACKUP.removeprefix("mm_fills"))
    warehouse.command(f"CREATE TABLE {name} AS {tables.name()}")
    warehouse.command(f"INSERT INTO {name} SELECT * FROM {tables.name()}")


def _backup_of_a_legacy_table(warehouse: Warehouse, tables: Tables) -> None:
    make(
        warehouse,
        tables,
        rows=[legacy_row(1)],
        suffix=BACKUP.removeprefix("mm_fills"),
    )
    migrate(warehouse, tables, NOW)


RESTORE = TruncateRequest(restore=BACKUP)
BEFORE = TruncateRequest(before=NOW)
REFUSALS: dict[str, tuple[Callable[[Warehouse, Tables], None], list[TruncateRequest], str, str]] = {
    "no table": (_empty_database, [EVERYTHING, GARBAGE, RESTORE], "does not exist", "migrate"),
    "no table of fills": (_foreign, [EVERYTHING, GARBAGE, BEFORE], "not a table of", "--table"),
    "garbage of a legacy table": (_legacy, [GARBAGE], "not of today", "carries the valid fills"),
    "part of a legacy table": (_legacy, [BEFORE], "does not exist|not of today", "migrate"),
    "an unfinished migration": (
        _unfinished_migration,
        [EVERYTHING, GARBAGE, BEFORE],
        "was not finished",
        "migrate",
    ),
    "a backup of that name": (
        _backup_of_that_name,
        [EVERYTHING, GARBAGE, BEFORE],
        "already exists",
        "run it again",
    ),
    "a restore into a table with rows": (
        _backup_beside_rows,
        [RESTORE],
        "has 2 rows",
        "INSERT INTO .* SELECT",
    ),
    "a restore of what is not there": (
        _backup_beside_rows,
        [TruncateRequest(restore="mm_fills_runs"), TruncateRequest(restore="x`; DROP TABLE y")],
        f"is not a backup of .*: {BACKUP}",
        "--list-backups",
    ),
    "a restore of an older schema": (
        _backup_of_a_legacy_table,
        [RESTORE],
        "another schema",
        "EXCHANGE TABLES .* migrate",
    ),
}


@pytest.mark.parametrize(
    ("start", "requests", "error", "hint"), REFUSALS.values(), ids=REFUSALS.keys()
)
def test_a_refusal_changes_nothing(
    warehouse: Warehouse,
    tables: Tables,
    start: Callable[[Warehouse, Tables], None],
    requests: list[TruncateRequest],
    error: str,
    hint: str,
) -> None:
    start(warehouse, tables)
    before = snapshot(warehouse.rows, tables.database)
    for request in requests:
        with pytest.raises((SchemaError, SettingsError), match=error) as caught:
            truncate(warehouse, tables, request, NOW)

        assert re.search(hint, caught.value.hint), caught.value.hint
        assert snapshot(warehouse.rows, tables.database) == before


def test_the_statements_of_the_hints_do_what_they_say(warehouse: Warehouse, tables: Tables) -> None:
    _backup_beside_rows(warehouse, tables)
    with pytest.raises(SettingsError) as both:
        truncate(warehouse, tables, RESTORE)
    insert(warehouse, tables, [row("f2")])
    warehouse.command(both.value.hint.partition("versions decide: ")[2])
    assert ids(warehouse, tables) == ["f1", "f2", "junk"]

    warehouse.command(f"DROP DATABASE {tables.database} SYNC")
    _backup_of_a_legacy_table(warehouse, tables)
    with pytest.raises(SettingsError) as older:
        truncate(warehouse, tables, RESTORE)
    warehouse.command(older.value.hint.removeprefix("run ").partition(" and then")[0])
    migrate(warehouse, tables, NOW)
    assert ids(warehouse, tables) == ["f1"]


@pytest.mark.server
def test_a_database_that_cannot_exchange_is_refused(server: ClickHouseServer) -> None:
    warehouse = open_server(server.url("default") + "?allow_deprecated_database_ordinary=1")
    tables = Tables(f"ordinary_t_{os.getpid()}")
    try:
        warehouse.command(f"CREATE DATABASE {tables.database} ENGINE = Ordinary")
        migrated(warehouse, tables, row("f1"))
        for request in (EVERYTHING, BEFORE):
            with pytest.raises(SchemaError, match="cannot be exchanged"):
                truncate(warehouse, tables, request)
        truncate(warehouse, tables, TruncateRequest(keep=False))
        assert ids(warehouse, tables) == []
    finally:
        warehouse.command(f"DROP DATABASE IF EXISTS {tables.database} SYNC")
        warehouse.close()


@pytest.fixture
def users(server_with_users: ServerWithUsers) -> Iterator[Users]:
    made = Users(server_with_users, Tables(f"users_{os.getpid()}_t{next(_serial)}"))
    yield made
    made.admin.command(f"DROP DATABASE IF EXISTS {made.tables.database}")
    made.close()


@pytest.mark.server
@pytest.mark.parametrize("keep", [True, False], ids=["with a backup", "without"])
def test_a_missing_privilege_is_told_before_anything_is_done(
    users: Users, cli: Cli, keep: bool
) -> None:
    _today(users.admin, users.tables)
    before = snapshot(users.admin.rows, users.tables.database)
    needed = TO_EXCHANGE if keep else TO_EMPTY
    for missing in needed[1:]:
        given = ", ".join(name for name in needed if name != missing)
        name = missing.replace(" ", "_").lower()
        url = users.url(f"no_{name}", f"GRANT {given} ON DB.* TO USER")
        words = ("--yes",) if keep else ("--yes", "--no-backup")

        done = cli("truncate", *words, "--format", "json", url=url)

        assert done.code == 5
        assert missing in done.json["error"]
        assert f"GRANT {missing} ON" in done.json["hint"]
        assert snapshot(users.admin.rows, users.tables.database) == before
    url = users.url("looker", "GRANT ALL ON DB.* TO USER", settings="SETTINGS readonly = 2")
    done = cli("truncate", "--yes", "--format", "json", url=url)
    assert (done.code, "may only read" in done.json["error"]) == (5, True)
    assert snapshot(users.admin.rows, users.tables.database) == before


@pytest.mark.server
@pytest.mark.parametrize("request_", MODES.values(), ids=MODES.keys())
def test_the_privileges_that_are_asked_for_are_enough(
    users: Users, request_: TruncateRequest
) -> None:
    migrated(users.admin, users.tables, *_mixed())
    seeing = "GRANT SELECT ON system.processes TO USER"
    url = users.url("just", f"GRANT {', '.join(TO_EXCHANGE)} ON DB.* TO USER", seeing)

    done = truncate(users.open(url), users.tables, request_)

    assert done.rows_removed > 0
    assert leftovers(users.admin, users.tables) == set()


@pytest.mark.server
def test_the_server_s_guard_against_dropping_is_told_as_what_it_is(tmp_path: Path) -> None:
    binary = os.environ.get("CLICKHOUSE_BINARY")
    if not binary:
        pytest.skip("no ClickHouse server to test against: CLICKHOUSE_BINARY is not set")
    guard = "<max_table_size_to_drop>1000</max_table_size_to_drop>"
    server = ClickHouseServer(binary, tmp_path / "server", guard)
    server.start()
    try:
        warehouse, tables = open_server(server.url("default")), Tables("guarded")
        migrated(warehouse, tables)
        insert(warehouse, tables, [row(f"f{number}", raw_json="x" * 99) for number in range(999)])
        insert(warehouse, tables, [row("new", ts=NOW - HOUR)])
        synced_until(warehouse, tables, NOW)

        with pytest.raises(WarehouseError, match="max_table_size_to_drop") as caught:
            truncate(warehouse, tables, TruncateRequest(keep=False))

        assert "--no-backup" in caught.value.hint
        assert len(ids(warehouse, tables)) == 1000
        assert watermark(warehouse, tables) == NOW

        kept = truncate(warehouse, tables, TruncateRequest(before=NOW - DAY, keep=False))
        assert kept.backup_holds_all_rows
        assert kept.backup is not None
        assert len(ids(warehouse, tables, kept.backup)) == 1000
        assert (kept.rows_removed, ids(warehouse, tables)) == (999, ["new"])

        insert(warehouse, tables, [row(f"f{number}", raw_json="x" * 99) for number in range(999)])
        part = truncate(warehouse, tables, TruncateRequest(before=NOW - DAY))
        assert part.backup is not None
        assert len(ids(warehouse, tables, part.backup)) == 999
        assert leftovers(warehouse, tables) == set()
        assert truncate(warehouse, tables).rows_removed == 1
        warehouse.close()
    finally:
        server.stop()


def test_where_clickhouse_refuses_the_exchange_all_is_as_it_was(
    warehouse: Warehouse, tables: Tables
) -> None:
    _today(warehouse, tables)
    before = content(warehouse, tables.name())

    class Refusing(Meddled):
        def command(self, sql: str, params: Mapping[str, Value] | None = None) -> None:
            if "EXCHANGE" in sql:
                raise WarehouseError("renameat2 is not supported", hint="", code=48)
            super().command(sql, params)

    for request in (EVERYTHING, GARBAGE, BEFORE):
        with pytest.raises(WarehouseError, match="renameat2"):
            truncate(Refusing(warehouse, lambda _: None), tables, request)
        assert content(warehouse, tables.name()) == before
        assert watermark(warehouse, tables) == NOW
        assert leftovers(warehouse, tables) == set()
        assert backups(warehouse, tables) == []


# The command


@pytest.fixture
def filled(target: Target, cli: Cli) -> Target:
    """Today's tables with three valid fills and two rows that are none."""
    assert cli("migrate", url=target.url).code == 0
    target.read(
        "INSERT INTO DB.mm_fills (ts, fill_id, exchange_order_id, market_ticker, side, "
        "price_cents, size, source, version) SELECT now() - toIntervalDay(number), "
        "toString(number), 'o', 't', 'yes', if(number < 3, 41, 0), 1, 'live', 5 FROM numbers(5)"
    )
    return target


def _told(target: Target) -> list[Row]:
    return snapshot(lambda sql, bound=None: target.read(sql, **(bound or {})), target.database)


KEYS = {
    "command",
    "table",
    "rows_before",
    "rows_removed",
    "rows_left",
    "backup",
    "watermark",
    "backups",
}


def test_the_json_is_the_contract_s(filled: Target, cli: Cli) -> None:
    done = cli("truncate", "--garbage", "--yes", "--format", "json", url=filled.url)

    assert done.code == 0, done.err
    told = done.json
    assert told.keys() >= KEYS
    assert (told["command"], told["table"]) == ("truncate", "mm_fills")
    assert (told["rows_before"], told["rows_removed"], told["rows_left"]) == (5, 2, 3)
    assert told["watermark"] is None
    assert [backup["name"] for backup in told["backups"]] == [told["backup"]]
    assert told["backups"][0].keys() >= {"name", "rows", "bytes", "created"}
    assert told["backups"][0]["rows"] == 2
    assert told["backups"][0]["created"].endswith("Z")
    assert told["next"] == "kalshi-fills sync"
    assert told["dry_run"] is False


def test_a_dry_run_tells_all_and_writes_nothing(filled: Target, cli: Cli) -> None:
    before = _told(filled)
    for words, removed in (((), 5), (("--garbage",), 2), (("--before", "36h"), 3)):
        told = cli("truncate", *words, "--dry-run", "--format", "json", url=filled.url)
        shown = cli("truncate", *words, "--dry-run", url=filled.url, env={"COLUMNS": "80"})

        assert (told.code, shown.code) == (0, 0), told.err
        assert told.json["dry_run"] is True
        assert told.json["rows_before"] == 5
        assert told.json["rows_removed"] == removed
        assert told.json["rows_left"] == 5 - removed
        assert (told.json["backup"], told.json["backups"]) == (None, [])
        assert f"truncate {filled.database}.mm_fills" in shown.out
        assert "to stay" in shown.out
        assert "Nothing was written." in shown.out
        assert max(map(len, shown.out.splitlines())) <= 80
    assert _told(filled) == before


def test_without_a_terminal_and_without_yes_it_refuses(filled: Target, cli: Cli) -> None:
    before = _told(filled)

    done = cli("truncate", "--format", "json", url=filled.url)

    assert done.code == 2
    assert "no terminal" in done.json["error"]
    assert "--yes" in done.json["hint"]
    assert _told(filled) == before


@pytest.mark.parametrize(
    "words",
    [
        ("--garbage", "--before", "7d"),
        ("--restore", "x", "--garbage"),
        ("--restore", "x", "--before", "7d"),
        ("--restore", "x", "--no-backup"),
        ("--list-backups", "--restore", "x"),
        ("--list-backups", "--garbage"),
        ("--list-backups", "--no-backup"),
        ("--before", "yesterday"),
        ("--before", ""),
        ("--before", "2999-01-01"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(cli: Cli, words: tuple[str, ...]) -> None:
    done = cli("truncate", *words, "--yes", url="chdb:///tmp/never-opened")

    assert done.code == 2
    assert done.err.count("error: ") == 1
    assert done.err.count("hint: ") == 1


class Terminal:
    """A command at a terminal of its own."""

    def __init__(self, target: Target, api_key: Account, home: Path, *words: str) -> None:
        self._main, other = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kalshi_fills", "truncate", *words],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(home),
                "XDG_STATE_HOME": str(home / "state"),
                "PYTHONPATH": str(ROOT),
                "COLUMNS": "80",
                "TERM": "dumb",
                "CLICKHOUSE_URL": target.url,
                "KALSHI_API_KEY_ID": KEY_ID,
                "KALSHI_PRIVATE_KEY_PATH": str(api_key.path),
            },
            cwd=home,
            stdin=other,
            stdout=subprocess.PIPE if "json" in words else other,
            stderr=other,
        )
        os.close(other)
        self.shown = ""

    def read_until(self, text: str) -> None:
        """Wait until it shows that, or ends."""
        deadline = time.monotonic() + 60
        while text not in self.shown and time.monotonic() < deadline:
            if select.select([self._main], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self._main, 65536).decode()
                except OSError:  # the other end is closed
                    return

    def type(self, text: str) -> Done:
        """Answer its question, and wait for the end."""
        self.read_until("to go on: ")
        os.write(self._main, text.encode())
        self.read_until("\0 which is never shown")
        out = self.process.communicate(timeout=60)[0]
        os.close(self._main)
        return Done(self.process.returncode, (out or b"").decode(), self.shown)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("words", [(), ("--format", "json")], ids=["table", "json"])
def test_it_asks_for_the_table_s_name(
    filled: Target, api_key: Account, tmp_path: Path, words: tuple[str, ...]
) -> None:
    before = _told(filled)
    for typed in ("yes\n", "\x04"):
        done = Terminal(filled, api_key, tmp_path, *words).type(typed)

        assert done.code == 1
        assert "declined" in done.err
        assert "hint:" in done.err
        assert "there now" in done.err
        if words:
            assert done.json["exit_code"] == 1
    assert _told(filled) == before

    done = Terminal(filled, api_key, tmp_path, *words).type("mm_fills\n")

    assert done.code == 0, done.err
    assert f"{filled.database}.mm_fills" in done.err
    assert "every row" in done.err
    assert filled.read("SELECT count() FROM DB.mm_fills") == [(0,)]
    if words:
        assert done.json["rows_removed"] == 5


def test_the_outcome_reads_well_in_eighty_columns(filled: Target, cli: Cli) -> None:
    gone = cli("truncate", "--yes", url=filled.url, env={"COLUMNS": "80"})
    (backup,) = [
        word.strip("`;") for word in gone.out.split() if word.startswith("mm_fills_backup_")
    ][:1]
    back = cli("truncate", "--restore", backup, url=filled.url, env={"COLUMNS": "80"})
    nothing = cli("truncate", "--before", "90d", "--yes", url=filled.url)

    assert (gone.code, back.code, nothing.code) == (0, 0, 0), gone.err + back.err + nothing.err
    assert f"`kalshi-fills truncate --restore {backup}`" in gone.out
    assert "`kalshi-fills sync`" in gone.out
    assert "Nothing to remove" in nothing.out
    for done in (gone, back):
        assert f"truncate {filled.database}.mm_fills" in done.out
        assert max(map(len, done.out.splitlines())) <= 80
    assert filled.read("SELECT count() FROM DB.mm_fills") == [(5,)]


@pytest.mark.server
@pytest.mark.parametrize("target", ["server"], indirect=True)
def test_a_second_run_is_refused_while_one_asks(
    filled: Target, cli: Cli, api_key: Account, tmp_path: Path
) -> None:
    asking = Terminal(filled, api_key, tmp_path)
    asking.read_until("to go on: ")

    done = cli("truncate", "--yes", "--format", "json", url=filled.url)

    assert done.code == 75
    assert asking.type("no\n").code == 1
    assert filled.read("SELECT count() FROM DB.mm_fills") == [(5,)]
