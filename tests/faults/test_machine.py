"""A full disk, and a clock that is off."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from support.clickhouse_server import ClickHouseServer
from support.commandline import Target, embedded_rows
from support.faults import Cli, Serve, server_only
from support.faulty import (
    COLUMNS,
    UNLIMITED,
    assert_failed,
    assert_the_truth,
    stored,
)
from support.syncing import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    Bench,
    account_of,
    claim,
    fill_at,
)

from kalshi_fills.practice.account import generate_account
from kalshi_fills.warehouse.server import open_server


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 96 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small disk cannot be mounted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill_up(disk: Path, left: int) -> Path:
    """Fill the disk but for that many bytes."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(1 << 16)):
            continue
    with filler.open("r+b") as file:
        file.truncate(filler.stat().st_size - left)
    return filler


# A full disk


@pytest.mark.parametrize("left", [300_000, pytest.param(0, marks=pytest.mark.torture)])
@pytest.mark.parametrize("engine", ["embedded", pytest.param("server", marks=pytest.mark.server)])
def test_a_full_disk_is_told_and_the_next_run_repairs(
    cli: Cli,
    serve: Serve,
    now: datetime,
    small_disk: Path,
    request: pytest.FixtureRequest,
    engine: str,
    left: int,
) -> None:
    folder = small_disk / "chdb"
    if engine == "embedded":
        pytest.importorskip("chdb", reason="the embedded engine is not installed")
        url = f"chdb://{folder}?database=kalshi"
    else:
        server: ClickHouseServer = request.getfixturevalue("own_server")(small_disk / "server")
        url = server.url("kalshi")

    def read(sql: str) -> list[tuple[Any, ...]]:
        if engine == "embedded":
            return embedded_rows(folder, sql, {})
        with contextlib.closing(open_server(url)) as opened:
            return opened.rows(sql)

    account = generate_account(6, 5_000, start=now - DAY, end=now - HOUR)
    exchange = serve(account, limits=UNLIMITED)
    assert cli("migrate", url=url).code == 0
    filler = fill_up(small_disk, left)

    done = cli("sync", url=url, api=exchange.url)

    assert "space" in assert_failed(done, 5)
    filler.unlink()
    healed = cli("sync", url=url, api=exchange.url)
    assert healed.code == 0, healed.err
    assert_the_truth(read(f"SELECT {COLUMNS} FROM kalshi.mm_fills FINAL"), account)
    states = read("SELECT DISTINCT status FROM kalshi.mm_fills_runs FINAL ORDER BY status")
    assert states in ([("done",)], [("done",), ("failed",)])
    again = cli("sync", "--full", "--format", "json", url=url, api=exchange.url)
    assert again.json["stages"]["n_inserted"] == 0


def test_a_full_disk_under_the_metrics_file_is_told_and_costs_no_fill(
    cli: Cli, serve: Serve, migrated: Target, now: datetime, small_disk: Path
) -> None:
    account = generate_account(6, 300, start=now - DAY, end=now - HOUR)
    exchange = serve(account, limits=UNLIMITED)
    metrics = small_disk / "kalshi.prom"
    words = ("sync", "--metrics-file", str(metrics), "--log-format", "text")
    filler = fill_up(small_disk, 0)

    full = cli(*words, url=migrated.url, api=exchange.url)

    assert full.code == 0, full.err
    told = f"the metrics file {metrics} was not written: no space left on device"
    assert full.err.count(told) == 1
    assert_the_truth(stored(migrated), account)
    assert migrated.read("SELECT status FROM DB.mm_fills_runs FINAL") == [("done",)]

    filler.unlink()
    assert cli(*words, url=migrated.url, api=exchange.url).code == 0
    before = metrics.read_bytes()
    fill_up(small_disk, 0)
    exchange.insert_item(claim(now - MINUTE), now - MINUTE)
    full = cli(*words, url=migrated.url, api=exchange.url)
    assert full.code == 3, full.err
    assert told in full.err
    assert metrics.read_bytes() == before
    assert {path.name for path in small_disk.iterdir()} == {
        "filler", metrics.name, f"{metrics.name}.lock",
    }  # fmt: skip


# A clock that is off


@pytest.mark.sampled(4)
@pytest.mark.parametrize("off", [8, -8])
def test_a_clock_that_is_a_little_off_loses_nothing(bench: Bench, off: int) -> None:
    """The exchange takes timestamps that are up to ten seconds off."""
    bench.serve(account_of(), clock=lambda: bench.clock.now.timestamp() - off)
    fills = []
    for number in range(60):
        right = bench.clock.now - off * SECOND
        new = fill_at(right - SECOND / 2, number)
        fills.append(new)
        bench.exchange.add([new])
        if number % 10 == 9:
            done = bench.run(overlap=0 * SECOND)
            assert not done.has_findings
            # Neither ahead of the exchange nor of what was asked for.
            assert done.watermark is not None
            assert done.watermark <= min(right, bench.clock.now)
        bench.clock.now += SECOND
    bench.clock.now += 20 * SECOND
    bench.run(overlap=0 * SECOND)

    assert_the_truth(bench.rows(COLUMNS), replace(account_of(), fills=fills))


def test_a_clock_set_back_between_runs_takes_no_watermark_back_and_loses_nothing(
    bench: Bench,
) -> None:
    right = [NOW]
    bench.serve(account_of(), clock=lambda: right[0].timestamp())
    fills = []
    marks = []
    for number, off in enumerate((9, -9, 9, -9, -9, 0)):
        right[0] = NOW + 3 * SECOND * number
        new = [fill_at(right[0] - SECOND * back, 10 * number + back) for back in range(3)]
        fills += new
        bench.exchange.add(new)
        bench.clock.now = right[0] + off * SECOND
        marks.append(bench.run(overlap=0 * SECOND).watermark)
    bench.clock.now = right[0] = NOW + MINUTE
    marks.append(bench.run(overlap=0 * SECOND).watermark)

    assert marks == sorted(marks)
    assert_the_truth(bench.rows(COLUMNS), replace(account_of(), fills=fills))


def test_a_row_written_by_a_clock_ahead_is_corrected_by_one_behind(bench: Bench) -> None:
    right = fill_at(NOW - HOUR)
    wrong = replace(right, count=right.count + 1)
    bench.serve(account_of(wrong))
    bench.clock.now = NOW + 4 * MINUTE
    bench.run()
    bench.clock.now = NOW
    bench.serve(account_of(right))

    done = bench.run(full=True)

    assert done.counts.n_corrected == 1
    assert not done.has_findings
    assert_the_truth(bench.rows(COLUMNS), account_of(right))


@server_only
def test_a_clock_that_is_far_off_moves_nothing_and_set_right_loses_nothing(
    cli: Cli, migrated: Target, serve: Serve, now: datetime
) -> None:
    account = generate_account(6, 400, start=now - DAY, end=now - HOUR)
    off = [-7_200.0]
    exchange = serve(account, limits=UNLIMITED, clock=lambda: time.time() + off[0])

    ahead = cli("sync", url=migrated.url, api=exchange.url)
    off[0] = 7_200.0
    behind = cli("sync", url=migrated.url, api=exchange.url)
    off[0] = 0.0
    right = cli("sync", url=migrated.url, api=exchange.url)

    for done in (ahead, behind):
        assert re.search("7(199|20[01]) seconds", assert_failed(done, 4))
    assert right.code == 0, right.err
    assert_the_truth(stored(migrated), account)
    runs = migrated.read(
        "SELECT status, watermark IS NULL FROM DB.mm_fills_runs FINAL ORDER BY started_at"
    )
    assert runs == [("failed", 1), ("failed", 1), ("done", 0)]
