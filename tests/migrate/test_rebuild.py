"""The incident's table, and rebuilds that are killed and run again."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from support.clickhouse_server import PASSWORD, ClickHouseServer
from support.commandline import Done, Target
from support.legacy import (
    LEGACY,
    LEGACY_ENGINE,
    ORDER,
    content,
    insert,
    legacy_row,
    make,
    names_there,
)
from support.migrating import NO_DECISION, NOW, assert_today, fills, generate, make_today, migrate

from kalshi_fills.errors import SchemaError
from kalshi_fills.migrate.run import migrate as bring_to_today
from kalshi_fills.practice.account import PracticeFill, generate_account, the_incident
from kalshi_fills.practice.exchange import PracticeExchange
from kalshi_fills.warehouse.client import Row, TextTable, Value, Warehouse
from kalshi_fills.warehouse.declared import wanted_columns
from kalshi_fills.warehouse.ownership import NEXT
from kalshi_fills.warehouse.schema import require_today
from kalshi_fills.warehouse.server import open_server
from kalshi_fills.warehouse.statements import Tables

STEP_KEYS = {"name", "found", "action", "rows", "seconds", "status"}


ENGINE_COLUMNS = (
    "ts, engine_instance_id, engine_version, market_ticker, exchange_order_id, client_order_id, "
    "side, price_cents, size, decision_id, fill_id, raw_json"
)


# The incident


def test_the_incidents_table_becomes_todays_and_is_kept_whole(
    target: Target, cli: Callable[..., Done], serve: Callable[..., PracticeExchange], now: datetime
) -> None:
    generate(target, garbage=352_000, good=40)

    done = cli("migrate", "--format", "json", url=target.url)

    assert done.code == 0, done.err
    told = done.json
    assert told["command"] == "migrate"
    assert told["changed"] is True
    assert {"command", "changed", "steps", "kept", "columns"} <= told.keys()
    assert all(step.keys() >= STEP_KEYS for step in told["steps"])
    (kept,) = told["kept"]
    assert target.read(f"SELECT count(), countIf(price = 0) FROM DB.{kept}") == [(352_040, 352_000)]
    assert target.read(
        "SELECT count(), uniqExact(fill_id, exchange_order_id), min(price_cents), "
        "countIf(toUInt32(substring(client_order_id, 8)) >= 10000000) FROM DB.mm_fills FINAL"
    ) == [(40, 40, Decimal("41"), 40)]
    lines = [json.loads(line) for line in done.err.splitlines()]
    wanted = [column.name for column in wanted_columns()]
    assert f"mm_fills columns: {wanted}" in [line["event"] for line in lines]
    assert told["columns"] == wanted
    assert wanted[:2] == ["ts", "fill_id"]
    carried = next(step for step in told["steps"] if step["name"] == "keep aside")["action"]
    assert "352,040 rows: 40 fills were carried over, 352,000 rows" in carried

    again = cli("migrate", "--format", "json", url=target.url)

    assert again.code == 0
    assert again.json["changed"] is False
    assert again.json["kept"] == []
    assert {step["status"] for step in again.json["steps"]} == {"nothing to do"}
    assert "Nothing to do" in cli("migrate", url=target.url).out

    truth = the_incident(now)
    synced = cli("sync", "--full", "--format", "json", url=target.url, api=serve(truth).url)

    assert synced.json["stages"]["n_new"] == 5, synced.err
    assert target.read("SELECT source, count() FROM DB.mm_fills FINAL GROUP BY 1 ORDER BY 1") == [
        ("legacy", 40),
        ("live", 5),
    ]


def test_a_sync_makes_carried_rows_exact_instead_of_doubling_them(
    target: Target, cli: Callable[..., Done], serve: Callable[..., PracticeExchange], now: datetime
) -> None:
    account = generate_account(11, 40, start=now - timedelta(days=3), end=now, eras="current")
    _write_as_engine(target, account.fills)

    assert cli("migrate", url=target.url).code == 0
    carried = target.read("SELECT count() FROM DB.mm_fills FINAL WHERE source = 'legacy'")
    synced = cli("sync", "--full", "--format", "json", url=target.url, api=serve(account).url)

    assert carried == [(40,)]
    assert synced.code == 0, synced.err
    assert synced.json["stages"]["n_corrected"] == 40
    assert synced.json["stages"]["n_new"] == 0
    assert _exact(target) == sorted(map(_truth, account.fills))


def _write_as_engine(target: Target, written: Sequence[PracticeFill]) -> None:
    """Fill a legacy table as a careful engine did: its own clock, whole cents, its decisions."""
    target.read(f"CREATE DATABASE {target.database}")
    listed = ", ".join(f"{name} {kind}" for name, kind in LEGACY.items())
    target.read(f"CREATE TABLE DB.mm_fills ({listed}) ENGINE = {LEGACY_ENGINE}")
    rows = []
    for fill in written:
        price = fill.yes_price if fill.outcome_side == "yes" else 1 - fill.yes_price
        told = fill.payload_json("current").replace("\\", "\\\\").replace("'", "\\'")
        rows.append(
            f"(fromUnixTimestamp64Milli({fill.executed_at_us // 1000 + 250}, 'UTC'), 'mm-7', "
            f"'0.9.3', '{fill.ticker}', '{fill.order_id}', 'client-{fill.fill_id}', "
            f"'{fill.outcome_side}', {price}, {max(int(price * 100), 1)}, {fill.count}, 0, "
            f"'{_decision(fill)}', '{told}')"
        )
    target.read(f"INSERT INTO DB.mm_fills ({', '.join(LEGACY)}) VALUES {', '.join(rows)}")


def _decision(fill: PracticeFill) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, fill.fill_id)


EXACT = (
    "fill_id, exchange_order_id, ts, market_ticker, side, yes_price_dollars, size, fee_dollars, "
    "is_taker, source, engine_instance_id, engine_version, decision_id"
)


def _exact(target: Target) -> list[Row]:
    return target.read(f"SELECT {EXACT} FROM DB.mm_fills FINAL ORDER BY fill_id")


def _truth(fill: PracticeFill) -> Row:
    return (
        *(fill.fill_id, fill.order_id),
        datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=fill.executed_at_us),
        *(fill.ticker, fill.outcome_side, fill.yes_price, fill.count, fill.fee, fill.is_taker),
        *("live", "mm-7", "0.9.3", _decision(fill)),
    )


def test_an_engines_old_insert_works_and_the_next_sync_makes_its_row_exact(
    target: Target,
    cli: Callable[..., Done],
    serve: Callable[..., PracticeExchange],
    now: datetime,
    request: pytest.FixtureRequest,
) -> None:
    account = generate_account(12, 30, start=now - timedelta(hours=2), end=now, eras="current")
    exchange = serve(account)
    _write_as_engine(target, account.fills[20:])
    assert cli("migrate", url=target.url).code == 0
    assert cli("sync", url=target.url, api=exchange.url).code == 0
    # The table knows all 30 already, as it would when the engine writes behind a sync, ...
    _old_insert(target, request, account.fills[:10])
    # ... and only now as new ones.
    target.read("TRUNCATE TABLE DB.mm_fills")
    _old_insert(target, request, account.fills)

    assert target.read("SELECT count() FROM DB.mm_fills FINAL") == [(30,)]
    synced = cli("sync", "--full", "--format", "json", url=target.url, api=exchange.url)

    assert synced.code == 0, synced.err
    assert synced.json["stages"]["n_new"] == 0
    assert synced.json["stages"]["n_corrected"] == 30
    assert _exact(target) == sorted(map(_truth, account.fills))


def _old_insert(
    target: Target, request: pytest.FixtureRequest, written: Sequence[PracticeFill]
) -> None:
    lines = [ENGINE_COLUMNS.replace(" ", "")]
    for fill in written:
        cents = 100 * (fill.yes_price if fill.outcome_side == "yes" else 1 - fill.yes_price)
        moment = datetime.fromtimestamp(fill.executed_at_us // 1_000_000 + 1, UTC)
        told = fill.payload_json("current").replace('"', '""')
        lines.append(
            f"{moment:%Y-%m-%d %H:%M:%S}.250,mm-7,0.9.3,{fill.ticker},{fill.order_id},"
            f"client-{fill.fill_id},{fill.outcome_side},{max(int(cents), 1)},{fill.count},"
            f'{_decision(fill)},{fill.fill_id},"{told}"'
        )
    sent = f"INSERT INTO DB.mm_fills ({ENGINE_COLUMNS}) FORMAT CSVWithNames\n"
    body = "\n".join(lines) + "\n"
    if target.url.startswith("chdb"):
        target.read(sent + body)
        return
    server: ClickHouseServer = request.getfixturevalue("server")
    subprocess.run(
        [
            *(os.environ["CLICKHOUSE_BINARY"], "client", "--host", "127.0.0.1"),
            *("--port", str(server.port), "--password", PASSWORD),
            *("--query", sent.replace("DB.", f"{target.database}.")),
        ],
        input=body,
        text=True,
        check=True,
        capture_output=True,
    )


def test_an_engine_goes_on_inserting_with_its_thirteen_columns(
    warehouse: Warehouse, tables: Tables
) -> None:
    make(warehouse, tables, rows=[legacy_row(1)])
    migrate(warehouse, tables)

    for _ in range(3):  # blank ids, all else equal: three rows
        insert(warehouse, tables, [legacy_row(2)])
    named = legacy_row(3) | {"fill_id": ""}
    insert(warehouse, tables, [named, named])
    warehouse.command(f"OPTIMIZE TABLE {tables.name()} FINAL")

    found = fills(warehouse, tables, "client_order_id, price_cents, yes_price_dollars, size")
    assert sorted(found) == [
        (f"client-{number}", Decimal("41"), Decimal("0.41"), Decimal("10"))
        for number in (1, 2, 2, 2, 3, 3)
    ]


class _KilledError(BaseException):
    """Stands for kill -9: nothing catches it."""


class _Dying:
    """A warehouse whose client dies right after its n-th statement that writes."""

    def __init__(self, warehouse: Warehouse, statements: int) -> None:
        self._warehouse = warehouse
        self._left = statements

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
        self._die()

    def insert(self, table: str, names: Sequence[str], rows: Sequence[Sequence[Value]]) -> None:
        self._warehouse.insert(table, names, rows)
        self._die()

    def close(self) -> None:
        self._warehouse.close()

    def _die(self) -> None:
        self._left -= 1
        if self._left <= 0:
            raise _KilledError


def _start_legacy(warehouse: Warehouse, tables: Tables) -> None:
    make(
        warehouse,
        tables,
        rows=[legacy_row(1), legacy_row(2), legacy_row(3, price=0, price_cents=0)],
    )


def _start_other_key(warehouse: Warehouse, tables: Tables) -> None:
    migrate(warehouse, tables)
    warehouse.command(f"DROP TABLE {tables.name()}")
    make_today(
        warehouse, tables, "ReplacingMergeTree(version) ORDER BY (market_ticker, ts, fill_id)"
    )
    insert(
        warehouse,
        tables,
        [
            legacy_row(1, fill_id="f1"),
            legacy_row(2, fill_id="f2"),
            legacy_row(3, fill_id="", raw_json="{}"),
        ],
    )


def _start_column_missing(warehouse: Warehouse, tables: Tables) -> None:
    migrate(warehouse, tables)
    insert(
        warehouse,
        tables,
        [
            legacy_row(1, fill_id="f1"),
            legacy_row(2, fill_id="f2"),
            legacy_row(3, fill_id="", raw_json="{}"),
        ],
    )
    warehouse.command(f"ALTER TABLE {tables.name()} DROP COLUMN is_taker")
    warehouse.command(tables.sql("migrations/0005_create_current_view"))


# Killed, and run again


@pytest.mark.sampled(12)
@pytest.mark.parametrize("every", [3, 1])
@pytest.mark.parametrize(
    ("start", "least"),
    [
        pytest.param(_start_legacy, 15, id="legacy"),
        pytest.param(_start_other_key, 6, id="another key"),
        pytest.param(_start_column_missing, 2, id="a column missing"),
    ],
)
def test_a_run_killed_after_any_statement_is_ended_right_by_the_next(
    warehouse: Warehouse,
    tables: Tables,
    start: Callable[[Warehouse, Tables], None],
    least: int,
    every: int,
) -> None:
    killed = 0
    while True:
        warehouse.command(f"DROP DATABASE IF EXISTS {tables.database} SYNC")
        start(warehouse, tables)
        killed += every
        try:
            migrate(_Dying(warehouse, killed), tables)
        except _KilledError:
            pass
        else:
            break

        migrate(warehouse, tables)

        where = f"killed after statement {killed}"
        assert_today(warehouse, tables)
        there = names_there(warehouse, tables)
        assert not [name for name in there if name.endswith(NEXT)], where
        kept = [name for name in there if "_legacy_" in name]
        found = {row[0] for row in fills(warehouse, tables, "client_order_id")}
        assert {"client-1", "client-2"} <= found, where
        assert len(fills(warehouse, tables)) == len(found), where
        for name in kept:
            assert warehouse.rows(f"SELECT count() FROM {tables.database}.{name}") == [(3,)], where
        assert bool(kept) == (start is not _start_column_missing), where
    assert killed > least


def test_a_half_filled_copy_is_started_anew(warehouse: Warehouse, tables: Tables) -> None:
    make(warehouse, tables, rows=[legacy_row(1), legacy_row(2)])
    before = content(warehouse, tables.name())
    other = Tables(f"{tables.database}_other")
    try:
        make(warehouse, other, rows=[legacy_row(1)])
        migrate(warehouse, other)
        warehouse.command(tables.sql("migrations/0002_create_fills", suffixes={"": NEXT}))
        warehouse.command(f"INSERT INTO {tables.name(NEXT)} SELECT * FROM {other.name()}")
    finally:
        warehouse.command(f"DROP DATABASE {other.database}")

    done = migrate(warehouse, tables)

    assert next(step for step in done.steps if step.name == "unfinished copy").rows == 1
    assert fills(warehouse, tables) == [("f1",), ("f2",)]
    kept = f"{tables.database}.{done.kept[0]}"
    assert warehouse.rows(f"SELECT count() FROM {kept}") == [(len(before),)]
    assert_today(warehouse, tables)


def _after_exchange(
    warehouse: Warehouse, tables: Tables, rows: Sequence[Mapping[str, object]]
) -> None:
    """Make what a kill right after the exchange leaves, when the engine went on writing."""
    make(warehouse, tables, rows=rows, suffix=NEXT)
    warehouse.command(tables.sql("schema/add_columns", suffixes={"": NEXT}))
    warehouse.command(tables.sql("migrations/0002_create_fills"))


def test_what_came_late_into_the_old_table_is_carried_over_after_the_exchange(
    warehouse: Warehouse, tables: Tables
) -> None:
    _after_exchange(warehouse, tables, [legacy_row(1), legacy_row(2)])
    insert(warehouse, tables, [legacy_row(3)])

    with pytest.raises(SchemaError) as refused:
        require_today(warehouse, tables)
    done = migrate(warehouse, tables)

    assert "migrate" in refused.value.hint
    assert fills(warehouse, tables, "fill_id, client_order_id", "client_order_id") == [
        ("f1", "client-1"),
        ("f2", "client-2"),
        ("", "client-3"),
    ]
    assert warehouse.rows(f"SELECT count() FROM {tables.database}.{done.kept[0]}") == [(2,)]
    assert_today(warehouse, tables)


@pytest.mark.server
def test_an_insert_that_began_before_the_exchange_is_waited_for_and_carried_over(
    server: ClickHouseServer,
) -> None:
    tables = Tables(f"in_flight_{os.getpid()}")
    warehouse, writer, looker = (open_server(server.url("default")) for _ in range(3))
    try:
        make(warehouse, tables, rows=[legacy_row(1)])
        slow = threading.Thread(
            target=writer.command,
            args=(
                f"INSERT INTO {tables.name()} ({', '.join(LEGACY)}) SELECT * REPLACE "
                '(\'{"fill_id": "late", "order_id": "' + ORDER + "\"}' AS raw_json) "
                f"FROM {tables.name()} WHERE sleepEachRow(3) = 0",
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

        done = migrate(warehouse, tables)
        slow.join(timeout=600)

        steps = {step.name: step for step in done.steps}
        assert steps["late rows"].seconds > 1
        assert "1 fill had come late" in steps["late rows"].action
        assert fills(warehouse, tables) == [("f1",), ("late",)]
        assert warehouse.rows(f"SELECT count() FROM {tables.database}.{done.kept[0]}") == [(2,)]
    finally:
        warehouse.command(f"DROP DATABASE IF EXISTS {tables.database} SYNC")
        for opened in (warehouse, writer, looker):
            opened.close()


def test_an_exact_row_is_not_replaced_by_the_late_copy(
    warehouse: Warehouse, tables: Tables
) -> None:
    _after_exchange(warehouse, tables, [legacy_row(1)])
    exact = legacy_row(1, fill_id="f1", price_cents=Decimal("41.5"), size=Decimal("10"), version=5)
    insert(warehouse, tables, [exact])

    migrate(warehouse, tables)

    assert fills(warehouse, tables, "fill_id, price_cents") == [("f1", Decimal("41.5"))]


def test_a_link_that_an_engine_wrote_after_the_exchange_outlives_the_late_copy(
    warehouse: Warehouse, tables: Tables
) -> None:
    _after_exchange(warehouse, tables, [legacy_row(1, decision_id=NO_DECISION, client_order_id="")])
    linked = legacy_row(1, fill_id="f1", price_cents=Decimal("41"), size=Decimal("10"))
    insert(warehouse, tables, [linked])

    migrate(warehouse, tables)

    assert fills(warehouse, tables, "fill_id, decision_id, client_order_id") == [
        ("f1", linked["decision_id"], "client-1")
    ]


def test_an_old_table_under_the_unfinished_name_is_never_destroyed(
    warehouse: Warehouse, tables: Tables
) -> None:
    """Killed after the exchange, and then the table in place stopped being today's, too."""
    _after_exchange(warehouse, tables, [legacy_row(1), legacy_row(2, raw_json="{}")])
    warehouse.command(f"ALTER TABLE {tables.name()} MODIFY COLUMN fee Float32")
    insert(warehouse, tables, [legacy_row(3, fill_id="f3")])

    try:
        migrate(warehouse, tables)
    except SchemaError:
        assert len(content(warehouse, tables.name(NEXT))) == 2
        return

    left: set[str] = set()
    for name in names_there(warehouse, tables):
        if name == "mm_fills" or "_legacy_" in name or name.endswith(NEXT):
            found = warehouse.rows(f"SELECT client_order_id FROM {tables.database}.{name}")
            left |= {row[0] for row in found}
    assert left == {"client-1", "client-2", "client-3"}


@pytest.mark.parametrize("lost", ["_runs", "_rejected", "_settlements", "_current", "_migrations"])
def test_a_table_of_ours_that_was_dropped_is_made_again(
    warehouse: Warehouse, tables: Tables, lost: str
) -> None:
    migrate(warehouse, tables)
    insert(warehouse, tables, [legacy_row(1, fill_id="f1")])
    warehouse.command(f"DROP TABLE {tables.name(lost)}")

    done = migrate(warehouse, tables)

    assert done.changed
    assert done.kept == []
    assert fills(warehouse, tables) == [("f1",)]
    assert_today(warehouse, tables)


def test_two_rebuilds_keep_two_old_tables(warehouse: Warehouse, tables: Tables) -> None:
    make(warehouse, tables, rows=[legacy_row(1)])
    first = migrate(warehouse, tables)
    warehouse.command(f"DROP TABLE {tables.name()}")
    make(warehouse, tables, rows=[legacy_row(2)])
    later = bring_to_today(warehouse, tables, NOW + timedelta(hours=1))

    assert len({*first.kept, *later.kept}) == 2
    assert {*first.kept, *later.kept} < names_there(warehouse, tables)
    assert fills(warehouse, tables) == [("f2",)]
