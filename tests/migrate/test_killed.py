"""migrate is killed at random moments, beside an engine that never stops writing."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from clickhouse_driver import Client
from support.clickhouse_server import ClickHouseServer
from support.commandline import Target
from support.killing import Figures, Killer, Writer, kept_aside, writing

from kalshi_fills.warehouse.schema import require_today
from kalshi_fills.warehouse.server import open_server
from kalshi_fills.warehouse.statements import Tables

COLUMNS = (
    "ts, engine_instance_id, engine_version, market_ticker, exchange_order_id, client_order_id, "
    "side, price, price_cents, size, fee, decision_id, raw_json"
)
LEGACY = """CREATE TABLE DB.mm_fills (ts DateTime64(3,'UTC'), engine_instance_id String,
    engine_version String, market_ticker String, exchange_order_id String, client_order_id String,
    side LowCardinality(String), price Float64, price_cents UInt16, size Float64, fee Float64,
    decision_id UUID, raw_json String)
    ENGINE = MergeTree PARTITION BY toDate(ts) ORDER BY (market_ticker, ts)"""
# Of 200 rows 15 have a price, of which 5 have an id in their payload and 5 repeat one of these.
SEED = f"""INSERT INTO DB.mm_fills ({COLUMNS}) SELECT
    toDateTime64('2026-09-01 00:00:00', 3, 'UTC') + toIntervalSecond(number % 5000000),
    'mm-7', '0.9.3', concat('KXHIGHNY-', toString(number % 200)), 'order-seed',
    concat('seed-', toString(number)), 'yes', if(number % 200 < 15, 0.41, 0),
    if(number % 200 < 15, 41, 0), 10, 0, generateUUIDv4(),
    if(number % 200 < 10, concat('{{"order_id": "order-seed", "fill_id": "seed-',
        toString(intDiv(number, 200) * 5 + number % 5), '"}}'), '{{}}')
    FROM numbers(ROWS)"""


THROUGH = "the new table, the old one kept"
MODE = "migrate"


def engine(url: str, database: str) -> Writer:
    """An engine that inserts with its own thirteen columns."""
    client = Client.from_url(url)

    def insert(number: int) -> list[str]:
        rows = [_row(4 * number + place) for place in range(4)]
        client.execute(f"INSERT INTO {database}.mm_fills ({COLUMNS}) VALUES", rows)
        return [str(row[5]) for row in rows]

    return Writer(insert, client.disconnect)


def _row(number: int) -> tuple[object, ...]:
    order = f"order-{number // 3}"
    told = {"order_id": order, "fill_id": f"written-{number}"}
    price = 0.0 if number % 5 == 0 else 0.37
    return (
        *(datetime.now(UTC), "mm-7", "0.9.3", f"KXHIGHNY-{number % 200}", order),
        *(f"written-{number}", "no", price, round(price * 100), 2.0, 0.0, uuid.uuid4()),
        json.dumps(told) if number % 2 else "{}",
    )


def seed(read: Callable[..., Any], database: str, rows: int) -> None:
    read(f"CREATE DATABASE IF NOT EXISTS {database}")
    read(LEGACY)
    read(SEED.replace("ROWS", str(rows)))


def left_behind(read: Callable[..., Any], database: str) -> str:
    """Return in which of its states a kill left the migration."""
    found = dict(
        read("SELECT name, engine FROM system.tables WHERE database = {d:String}", d=database)
    )
    if found["mm_fills"] == "MergeTree":
        return "the copy unfinished" if "mm_fills__next" in found else "the old table alone"
    return "exchanged, the old table not kept yet" if "mm_fills__next" in found else THROUGH


def assert_whole(
    read: Callable[..., Any], database: str, rows: int, acknowledged: set[str] = frozenset()
) -> None:
    """Assert that every row is there, every fill once, and the tables are today's."""
    names = {
        row[0]
        for row in read("SELECT name FROM system.tables WHERE database = {d:String}", d=database)
    }
    assert "mm_fills__next" not in names
    kept = [name for name in names if name.startswith("mm_fills_legacy_")]
    assert len(kept) == 1
    (old,) = kept
    ((seeded,),) = read(
        f"SELECT uniqExact(client_order_id) FROM DB.{old} WHERE client_order_id LIKE 'seed%'"
    )
    assert seeded == rows
    written = read(
        f"SELECT client_order_id FROM (SELECT client_order_id FROM DB.mm_fills UNION ALL "
        f"SELECT client_order_id FROM DB.{old}) WHERE client_order_id LIKE 'written%'"
    )
    assert acknowledged - {row[0] for row in written} == set()
    carried = read(
        "SELECT count(), uniqExact(fill_id, exchange_order_id) FROM DB.mm_fills FINAL "
        "WHERE fill_id LIKE 'seed%'"
    )
    assert carried == [(rows // 40, rows // 40)]
    # What an engine wrote with an id and a price into the old table is a fill in the new one.
    stayed_behind = read(
        f"SELECT client_order_id FROM DB.{old} WHERE client_order_id LIKE 'written%' AND price > 0 "
        "AND raw_json != '{}' "
        "AND client_order_id NOT IN (SELECT client_order_id FROM DB.mm_fills FINAL)"
    )
    assert stayed_behind == []


def torture(
    read: Callable[..., Any],
    database: str,
    killer: Killer,
    *,
    reset: Callable[[], None],
    rows: int,
    kills: int,
    url: str | None = None,
    check: Callable[[], None] = lambda: None,
) -> Figures:
    """Kill that many runs; after at most five the next one ends the work, and all must be there."""
    figures = Figures()
    reset()
    killer.measure(MODE)
    assert_whole(read, database, rows)
    left = kills
    while left:
        reset()
        with writing(engine(url, database) if url else None) as writer:
            for _ in range(min(left, 5)):
                if not killer.kill_one(MODE):
                    figures.whole += 1
                    break
                left -= 1
                state = left_behind(read, database)
                figures.kills[state] += 1
                if state == THROUGH:
                    break
            killer.finish(MODE)
        if writer is not None:
            assert writer.errors == []
            assert writer.acknowledged
            figures.written += len(writer.acknowledged)
        check()
        assert_whole(read, database, rows, writer.acknowledged if writer else frozenset())
        assert killer.finish(MODE)["changed"] is False
    print(figures)
    return figures


def _on_the_server(server: ClickHouseServer, home: Path, *, rows: int, kills: int) -> Figures:
    database = f"killed_{os.getpid()}"
    opened = open_server(server.url("default"))

    def read(sql: str, **params: Any) -> list[tuple[Any, ...]]:
        return opened.rows(sql.replace("DB.", f"{database}."), params)

    def reset() -> None:
        read(f"DROP DATABASE IF EXISTS {database} SYNC")
        seed(read, database, rows)

    try:
        return torture(
            read,
            database,
            Killer("migrate", {MODE: ()}, server.url(database), home, seed=rows),
            reset=reset,
            rows=rows,
            kills=kills,
            url=server.url(database),
            check=lambda: require_today(opened, Tables(database)),
        )
    finally:
        opened.command(f"DROP DATABASE IF EXISTS {database} SYNC")
        opened.close()


@pytest.mark.torture
@pytest.mark.server
def test_killed_beside_a_writing_engine_it_loses_nothing(
    server: ClickHouseServer, tmp_path: Path
) -> None:
    figures = _on_the_server(server, tmp_path, rows=60_000, kills=6)

    assert figures.kills.total() == 6


@pytest.mark.server
@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_killed_fifty_times_beside_a_writing_engine_it_loses_nothing(
    server: ClickHouseServer, tmp_path: Path
) -> None:
    figures = _on_the_server(server, tmp_path, rows=1_000_000, kills=50)

    assert figures.kills.total() == 50
    assert len(figures.kills) >= 3


def _embedded(target: Target, home: Path, *, rows: int, kills: int) -> Figures:
    seed(target.read, target.database, rows)
    reset = kept_aside(home / "chdb")
    killer = Killer("migrate", {MODE: ()}, target.url, home, seed=rows)
    return torture(target.read, target.database, killer, reset=reset, rows=rows, kills=kills)


@pytest.mark.parametrize("target", ["embedded"], indirect=True)
def test_killed_with_the_embedded_engine_it_loses_nothing(target: Target, tmp_path: Path) -> None:
    assert _embedded(target, tmp_path, rows=20_000, kills=2).kills.total() == 2


@pytest.mark.torture
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("target", ["embedded"], indirect=True)
def test_killed_fifty_times_with_the_embedded_engine_it_loses_nothing(
    target: Target, tmp_path: Path
) -> None:
    figures = _embedded(target, tmp_path, rows=1_000_000, kills=50)

    assert figures.kills.total() == 50
    assert len(figures.kills) >= 3


@pytest.mark.sampled(3)
@pytest.mark.server
@pytest.mark.parametrize("after", ["new table", "carry over", "exchange"])
def test_the_server_killed_in_the_middle_loses_nothing(tmp_path: Path, after: str) -> None:
    binary = os.environ.get("CLICKHOUSE_BINARY")
    if not binary:
        pytest.skip("no ClickHouse server to test against: CLICKHOUSE_BINARY is not set")
    server = ClickHouseServer(binary, tmp_path / "server")
    server.start()
    database, rows = "crashed", 20_000

    def read(sql: str, **params: Any) -> list[tuple[Any, ...]]:
        opened = open_server(server.url("default"))
        try:
            return opened.rows(sql.replace("DB.", f"{database}."), params)
        finally:
            opened.close()

    try:
        seed(read, database, rows)
        killer = Killer("migrate", {MODE: ()}, server.url(database), tmp_path, seed=1)
        with writing(engine(server.url(database), database)) as writer:
            assert writer is not None
            process = killer.start(MODE)
            killer.until_step(process, after)
            writer.forgiving = True
            server.kill()
            out, err = process.communicate(timeout=600)
            server.start()
            killer.finish(MODE)
            writer.forgiving = False
            time.sleep(0.3)

        assert process.returncode == 5
        assert json.loads(out)["status"] == "failed"
        assert b"Traceback" not in err
        assert writer.errors == []
        opened = open_server(server.url("default"))
        require_today(opened, Tables(database))
        opened.close()
        assert_whole(read, database, rows, writer.acknowledged)
    finally:
        server.stop()
