"""migrate is killed at random moments, beside an engine that never stops writing."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from clickhouse_driver import Client
from support.clickhouse_server import ClickHouseServer
from support.commandline import ROOT, Target

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


@dataclass
class Figures:
    """What a test of kills has seen."""

    kills: Counter[str] = field(default_factory=Counter)
    """How often, by what the kill left behind."""
    whole: int = 0
    """Runs that were through before the kill came."""
    written: int = 0

    def __str__(self) -> str:
        left = ", ".join(f"{count} x {what}" for what, count in self.kills.most_common())
        return (
            f"{self.kills.total()} kills ({left}), {self.whole} runs were through before, "
            f"{self.written:,} rows written meanwhile"
        )


class Writer(threading.Thread):
    """An engine that goes on inserting with its own thirteen columns, and remembers the answers."""

    def __init__(self, url: str, database: str) -> None:
        super().__init__(daemon=True)
        self.table = f"{database}.mm_fills"
        self.acknowledged: set[str] = set()
        self.errors: list[Exception] = []
        self.forgiving = False
        """Whether errors are expected: the server itself is killed."""
        self._client = Client.from_url(url)
        self._end = threading.Event()
        self._number = 0

    def run(self) -> None:
        while not self._end.is_set():
            rows = [self._row() for _ in range(4)]
            try:
                self._client.execute(f"INSERT INTO {self.table} ({COLUMNS}) VALUES", rows)
            except Exception as error:
                if not self.forgiving:
                    self.errors.append(error)
                time.sleep(0.05)
                continue
            self.acknowledged.update(str(row[5]) for row in rows)
            time.sleep(0.01)

    def end(self) -> None:
        self._end.set()
        self.join(timeout=600)
        assert not self.is_alive()
        self._client.disconnect()

    def _row(self) -> tuple[object, ...]:
        self._number += 1
        order = f"order-{self._number // 3}"
        told = {"order_id": order, "fill_id": f"written-{self._number}"}
        price = 0.0 if self._number % 5 == 0 else 0.37
        return (
            *(datetime.now(UTC), "mm-7", "0.9.3", f"KXHIGHNY-{self._number % 200}", order),
            *(f"written-{self._number}", "no", price, round(price * 100), 2.0, 0.0, uuid.uuid4()),
            json.dumps(told) if self._number % 2 else "{}",
        )


@contextmanager
def writing(url: str, database: str) -> Iterator[Writer]:
    writer = Writer(url, database)
    writer.start()
    try:
        yield writer
    finally:
        writer.end()


class Killer:
    """Runs migrate as a process and kills it at a random moment."""

    def __init__(self, url: str, home: Path, seed: int) -> None:
        self.figures = Figures()
        self._url = url
        self._home = home
        self._random = random.Random(seed)
        self._longest = 1.0
        self._steps = 0

    def start(self) -> subprocess.Popen[bytes]:
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._home),
            "XDG_STATE_HOME": str(self._home / "state"),
            "PYTHONPATH": str(ROOT),
            "CLICKHOUSE_URL": self._url,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "kalshi_fills", "migrate", "--format", "json"],
            env=variables,
            cwd=self._home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def measure(self) -> None:
        """Wait for a run to end by itself, to know how long one takes and its steps."""
        process = self.start()
        self._until(process, "migrate_plan")
        began = time.monotonic()
        self._steps = 0
        while self._until(process, "migrate_step"):
            self._steps += 1
            self._longest = time.monotonic() - began
        process.communicate(timeout=600)
        assert process.returncode == 0
        assert self._steps > 5

    def kill_one(self) -> bool:
        """Start a run and kill it; say whether it was still alive then.

        Any moment since its start, any since its plan is made, or one soon after any of its
        steps: most of them are too short to be met by chance.
        """
        process = self.start()
        kind = self._random.random()
        if kind < 0.1:
            time.sleep(self._random.uniform(0.1, 0.6))
        elif kind < 0.6:
            self._until(process, "migrate_plan")
            time.sleep(self._random.uniform(0, self._longest))
        else:
            for _ in range(self._random.randrange(self._steps)):
                self._until(process, "migrate_step")
            time.sleep(self._random.uniform(0, 0.03))
        process.kill()
        process.communicate(timeout=600)
        assert process.returncode in (-9, 0)
        return process.returncode != 0

    def finish(self) -> dict[str, Any]:
        """Run it to its end."""
        process = self.start()
        out, log = process.communicate(timeout=600)
        assert process.returncode == 0, log.decode()
        return json.loads(out)

    def _until(self, process: subprocess.Popen[bytes], event: str) -> bool:
        """Read the log on to the next such line; false if there is none any more."""
        assert process.stderr is not None
        return any(event in line.decode() for line in process.stderr)


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
) -> None:
    """Kill that many runs; after at most five the next one ends the work, and all must be there."""
    reset()
    killer.measure()
    assert_whole(read, database, rows)
    left = kills
    while left:
        reset()
        with writing(url, database) if url else _nobody() as writer:
            for _ in range(min(left, 5)):
                if not killer.kill_one():
                    killer.figures.whole += 1
                    break
                left -= 1
                state = left_behind(read, database)
                killer.figures.kills[state] += 1
                if state == THROUGH:
                    break
            killer.finish()
        if writer is not None:
            assert writer.errors == []
            assert writer.acknowledged
            killer.figures.written += len(writer.acknowledged)
        check()
        assert_whole(read, database, rows, writer.acknowledged if writer else frozenset())
        assert killer.finish()["changed"] is False
    print(killer.figures)


@contextmanager
def _nobody() -> Iterator[None]:
    yield None


def _on_the_server(server: ClickHouseServer, home: Path, *, rows: int, kills: int) -> Figures:
    database = f"killed_{os.getpid()}"
    opened = open_server(server.url("default"))

    def read(sql: str, **params: Any) -> list[tuple[Any, ...]]:
        return opened.rows(sql.replace("DB.", f"{database}."), params)

    def reset() -> None:
        read(f"DROP DATABASE IF EXISTS {database} SYNC")
        seed(read, database, rows)

    killer = Killer(server.url(database), home, seed=rows)
    try:
        torture(
            read,
            database,
            killer,
            reset=reset,
            rows=rows,
            kills=kills,
            url=server.url(database),
            check=lambda: require_today(opened, Tables(database)),
        )
    finally:
        opened.command(f"DROP DATABASE IF EXISTS {database} SYNC")
        opened.close()
    return killer.figures


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
    folder, seeded = home / "chdb", home / "seeded"
    seed(target.read, target.database, rows)
    folder.rename(seeded)

    def reset() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(seeded, folder, symlinks=True)

    killer = Killer(target.url, home, seed=rows)
    torture(target.read, target.database, killer, reset=reset, rows=rows, kills=kills)
    return killer.figures


@pytest.mark.parametrize("target", ["embedded"], indirect=True)
def test_killed_with_the_embedded_engine_it_loses_nothing(target: Target, tmp_path: Path) -> None:
    assert _embedded(target, tmp_path, rows=60_000, kills=6).kills.total() == 6


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
    database, rows = "crashed", 60_000

    def read(sql: str, **params: Any) -> list[tuple[Any, ...]]:
        opened = open_server(server.url("default"))
        try:
            return opened.rows(sql.replace("DB.", f"{database}."), params)
        finally:
            opened.close()

    try:
        seed(read, database, rows)
        killer = Killer(server.url(database), tmp_path, seed=1)
        with writing(server.url(database), database) as writer:
            process = killer.start()
            assert process.stderr is not None
            told = (json.loads(line) for line in process.stderr)
            for line in told:
                if line["event"] == "migrate_step" and line["name"] == after:
                    break
            writer.forgiving = True
            server.kill()
            out, err = process.communicate(timeout=600)
            server.start()
            killer.finish()
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
