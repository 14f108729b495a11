"""truncate is killed at random moments, beside an engine that never stops writing."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.clickhouse_server import ClickHouseServer
from support.commandline import Target
from support.killing import Figures, Killer, Read, Writer, kept_aside, writing
from support.warm import run_command

from kalshi_fills.migrate.run import migrate
from kalshi_fills.warehouse.schema import require_today
from kalshi_fills.warehouse.server import open_server
from kalshi_fills.warehouse.statements import Tables

# Of ten rows five are junk, one has its id in its payload alone, one repeats a fill under another
# ticker, and three are valid; half of each are older than the cut. Each has a name of its own.
SEED = """INSERT INTO DB.mm_fills (ts, fill_id, exchange_order_id, market_ticker, side, price_cents,
    size, source, version, client_order_id, raw_json) SELECT
    toDateTime64(if(intDiv(number, 10) % 2, '2026-09-01 00:00:00', '2026-05-01 00:00:00'), 6, 'UTC')
        + toIntervalSecond(number % 3600),
    multiIf(number % 10 = 5, '', number % 10 = 6, toString(number + 1), toString(number)),
    concat('order-', toString(if(number % 10 = 6, number + 1, number) % 5000)),
    if(number % 10 = 6, 'KXOTHER', concat('KXHIGHNY-', toString(number % 200))),
    'yes', if(number % 10 < 5, 0, 41), 1, if(number % 10 < 6, '', 'live'),
    multiIf(number % 10 < 6, 0, number % 10 = 6, 4, 5),
    concat('seed-', toString(number)),
    if(number % 10 = 5, concat('{"order_id": "order-', toString(number % 5000), '", "fill_id": "p',
        toString(number), '"}'), '{}')
    FROM numbers(ROWS)"""
SYNCED = """INSERT INTO DB.mm_fills_runs (run_id, status, started_at, window_end, watermark,
    recorded_at) SELECT generateUUIDv4(), 'done', '2026-10-01', '2026-10-01', '2026-10-01',
    '2026-10-01'"""
CUT = "2026-07-01T00:00:00Z"
MODES = {
    "everything": ("--yes",),
    "garbage": ("--garbage", "--yes"),
    "before": ("--before", CUT, "--yes"),
    "everything for good": ("--no-backup", "--yes"),
}


def engine(url: str, database: str) -> Writer:
    """An engine that inserts by its own columns."""
    warehouse = open_server(url)
    names = ("ts", "market_ticker", "exchange_order_id", "client_order_id", "side")
    names += ("price", "price_cents", "size")

    def insert(number: int) -> list[str]:
        mine, junk = f"written-{number}", number % 2
        values = (datetime.now(UTC), "KXHIGHNY-1", f"order-{number % 9}", mine, "yes")
        values += (0.0, 0, 2) if junk else (0.37, 37, 2)
        warehouse.insert(f"{database}.mm_fills", names, [values])
        return [mine]

    return Writer(insert, warehouse.close)


def finish(killer: Killer, mode: str) -> dict[str, Any]:
    """Run it to its end."""
    for _ in range(2):
        done = killer.run(mode)
        if done.code == 0:
            answer: dict[str, Any] = done.json
            return answer
        # Two runs within a second would give their backups one name.
        assert "already exists" in done.json["error"], done.err
        time.sleep(1)
    pytest.fail("it was refused twice")


def names_there(read: Read, database: str) -> list[str]:
    found = read(
        "SELECT name FROM system.tables WHERE database = {d:String} AND (name = 'mm_fills' OR "
        "name LIKE 'mm\\_fills\\_backup\\_%' OR name LIKE 'mm\\_fills\\_\\_%')",
        d=database,
    )
    return sorted(row[0] for row in found if not row[0].endswith("_verdicts"))


def held(read: Read, tables: list[str], named: str) -> set[str]:
    """Return the names of the rows that stand in any of these tables."""
    union = " UNION ALL ".join(f"SELECT client_order_id AS it FROM DB.{name}" for name in tables)
    found = read(f"SELECT DISTINCT it FROM ({union}) WHERE startsWith(it, {{n:String}})", n=named)
    return {row[0] for row in found}


def state_left(names: list[str], rows_in_table: int, rows: int) -> str:
    """Return how far the killed run came."""
    if any(name.endswith("_removed") for name in names):
        return "the removed half copied"
    if any("__truncate" in name for name in names):
        return "beside, before the exchange" if rows_in_table >= rows else "beside, exchanged"
    return "nothing done" if rows_in_table >= rows else "all done"


def assert_no_hole(read: Read, mode: str) -> None:
    """Assert that what a sync wrote and is gone will be read again."""
    ((gone,),) = read("SELECT count() FROM DB.mm_fills FINAL WHERE source = 'live'")
    ((mark,),) = read(
        "SELECT watermark FROM DB.mm_fills_runs FINAL WHERE status = 'done' "
        "ORDER BY recorded_at DESC LIMIT 1"
    )
    if mode != "garbage" and gone == 0:
        assert mark is None
    if mode == "garbage":
        assert mark == datetime(2026, 10, 1, tzinfo=UTC)


def assert_done(read: Read, database: str, mode: str, rows: int, acknowledged: set[str]) -> None:
    """Assert that every row is where it belongs."""
    names = names_there(read, database)
    backups = [name for name in names if "_backup_" in name]
    assert not [name for name in names if "__truncate" in name]
    left, kept = held(read, ["mm_fills"], "seed-"), held(read, names, "seed-")
    seeds = {f"seed-{number}" for number in range(rows)}
    if mode == "everything for good":
        assert left == set()
        assert not backups
        return
    assert kept == seeds
    assert acknowledged - held(read, names, "written-") == set()
    stays = {
        "everything": lambda number: False,
        "garbage": lambda number: number % 10 in (5, 7, 8, 9),
        "before": lambda number: number // 10 % 2 == 1,
    }[mode]
    assert left == {f"seed-{number}" for number in range(rows) if stays(number)}
    assert kept - left == held(read, backups, "seed-")
    if mode == "garbage":
        assert read(
            "SELECT count() - uniqExact(fill_id, exchange_order_id) FROM DB.mm_fills FINAL "
            "WHERE fill_id != ''"
        ) == [(0,)]


def torture(
    read: Read,
    database: str,
    killer: Killer,
    *,
    reset: Callable[[], None],
    rows: int,
    kills: int,
    url: str | None = None,
    check: Callable[[], None] = lambda: None,
) -> Figures:
    """Kill that many runs; after at most three the next one ends the work."""
    figures = Figures()
    measured: set[str] = set()
    modes = itertools.cycle(["garbage", "before", "everything", "garbage", "before", *MODES])
    while figures.kills.total() < kills:
        mode = next(modes)
        if mode not in measured:
            measured.add(mode)
            reset()
            killer.measure(mode)
            assert_done(read, database, mode, rows, set())
        reset()
        with writing(engine(url, database) if url else None) as writer:
            for _ in range(min(kills - figures.kills.total(), 3)):
                if not killer.kill_one(mode):
                    figures.whole += 1
                    break
                names = names_there(read, database)
                if mode != "everything for good":
                    assert len(held(read, names, "seed-")) == rows
                in_table = len(held(read, ["mm_fills"], "seed-"))
                state = state_left(names, in_table, rows)
                figures.kills[f"{mode}: {state}"] += 1
                assert_no_hole(read, mode)
                if state == "all done":
                    break
            done = finish(killer, mode)
        assert done["rows_before"] == done["rows_removed"] + done["rows_left"]
        check()
        if writer is not None:
            assert writer.errors == []
            figures.written += len(writer.acknowledged)
        assert_done(read, database, mode, rows, writer.acknowledged if writer else set())
        assert_no_hole(read, mode)
    print(figures)
    return figures


def _on_the_server(server: ClickHouseServer, home: Path, *, rows: int, kills: int) -> Figures:
    database = f"truncate_killed_{os.getpid()}"
    opened = open_server(server.url("default"))
    tables = Tables(database)

    def read(sql: str, **params: Any) -> list[tuple[Any, ...]]:
        return opened.rows(sql.replace("DB.", f"{database}."), params)

    def reset() -> None:
        read(f"DROP DATABASE IF EXISTS {database} SYNC")
        migrate(opened, tables, datetime.now(UTC))
        read(SEED.replace("ROWS", str(rows)))
        read(SYNCED)

    killer = Killer("truncate", MODES, server.url(database), home, seed=kills)
    try:
        return torture(
            read,
            database,
            killer,
            reset=reset,
            rows=rows,
            kills=kills,
            url=server.url(database),
            check=lambda: require_today(opened, tables),
        )
    finally:
        opened.command(f"DROP DATABASE IF EXISTS {database} SYNC")
        opened.close()


@pytest.mark.torture
@pytest.mark.server
def test_killed_beside_a_writing_engine_it_loses_nothing(
    server: ClickHouseServer, tmp_path: Path
) -> None:
    assert _on_the_server(server, tmp_path, rows=10_000, kills=4).kills.total() == 4


@pytest.mark.server
@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_killed_a_hundred_times_beside_a_writing_engine_it_loses_nothing(
    server: ClickHouseServer, tmp_path: Path
) -> None:
    figures = _on_the_server(server, tmp_path, rows=200_000, kills=100)

    assert figures.kills.total() == 100
    assert len(figures.kills) >= 6


def _embedded(target: Target, home: Path, *, rows: int, kills: int) -> Figures:
    killer = Killer("truncate", MODES, target.url, home, seed=kills)
    assert run_command(("migrate",), killer.variables, home, timeout=600).code == 0
    for statement in (SEED.replace("ROWS", str(rows)), SYNCED):
        target.read(statement)
    reset = kept_aside(home / "chdb")
    return torture(target.read, target.database, killer, reset=reset, rows=rows, kills=kills)


@pytest.mark.parametrize("target", ["embedded"], indirect=True)
def test_killed_with_the_embedded_engine_it_loses_nothing(target: Target, tmp_path: Path) -> None:
    assert _embedded(target, tmp_path, rows=10_000, kills=2).kills.total() == 2


@pytest.mark.torture
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("target", ["embedded"], indirect=True)
def test_killed_a_hundred_times_with_the_embedded_engine_it_loses_nothing(
    target: Target, tmp_path: Path
) -> None:
    figures = _embedded(target, tmp_path, rows=200_000, kills=100)

    assert figures.kills.total() == 100
    assert len(figures.kills) >= 6
