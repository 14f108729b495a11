"""The ledger of runs: whose entry is the last, which runs are dead, which breaks are open."""

from __future__ import annotations

import os
import socket
import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
from support.diagnosing import Desk
from support.syncing import DAY, HOUR, MINUTE, NOW, NOW_FLOORED, SECOND, Bench, account_of, fill_at

from kalshi_fills.pipeline.stages import Counts
from kalshi_fills.pipeline.window import Window
from kalshi_fills.report.sync import show_sync, sync_json
from kalshi_fills.sync.open_breaks import OpenBreak, OpenBreaks, read_open_breaks
from kalshi_fills.sync.report import SyncReport
from kalshi_fills.warehouse.runs import Run
from kalshi_fills.warehouse.standing import account_of as account_of_key
from kalshi_fills.warehouse.store import FillStore


def left_running(bench: Bench, pid: int, host: str, began: datetime = NOW - HOUR) -> uuid.UUID:
    run_id = uuid.uuid4()
    run = Run(run_id, "running", began, None, None, began, None, Counts(), host, pid)
    FillStore(bench.warehouse, bench.tables, run_id, began, False).record(run, began)
    return run_id


def status_of(bench: Bench, run_id: uuid.UUID) -> str:
    return dict(bench.runs("run_id, status"))[run_id]


# Runs that never ended


@pytest.mark.parametrize("pid", [0, 2**31 - 1, 2**31, 2**32 - 1])
def test_a_process_that_cannot_be_is_not_alive(bench: Bench, pid: int) -> None:
    bench.serve(account_of(fill_at(NOW - HOUR)))
    left = left_running(bench, pid, socket.gethostname())

    done = bench.run()

    assert status_of(bench, left) == "failed"
    assert done.other_hosts == []


def test_a_run_of_another_host_is_closed_after_a_day(bench: Bench) -> None:
    bench.serve(account_of(fill_at(NOW - HOUR)))
    old = left_running(bench, os.getpid(), "elsewhere", NOW - DAY)
    young = left_running(bench, os.getpid(), "elsewhere", NOW - DAY + MINUTE)
    ahead = left_running(bench, os.getpid(), "elsewhere", NOW + 2 * DAY)

    bench.run()

    assert [status_of(bench, run) for run in (old, young, ahead)] == [
        "failed",
        "running",
        "running",
    ]


@pytest.mark.parametrize("host", ["", "a\tb\nc", "\x1b[31mred", "ü'\\`{x:String}", "x" * 70_000])
def test_a_strange_host_breaks_nothing(
    bench: Bench, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.serve(account_of(fill_at(NOW - HOUR)))
    left = left_running(bench, 7, host)
    dead = left_running(bench, 7, host, NOW - 2 * DAY)

    done = bench.run()

    assert (status_of(bench, left), status_of(bench, dead)) == ("running", "failed")
    show_sync(done, bench.tables)
    assert "\x1b" not in capsys.readouterr().out


def test_a_host_that_is_no_text_breaks_nothing(bench: Bench) -> None:
    bench.serve(account_of(fill_at(NOW - HOUR)))
    left = left_running(bench, 7, "elsewhere", NOW - 2 * DAY)
    bench.warehouse.command(
        f"ALTER TABLE {bench.tables.name('_runs')} UPDATE host = unhex('ff00fe') WHERE 1 "
        "SETTINGS mutations_sync = 2"
    )

    bench.run()

    assert status_of(bench, left) == "failed"


# Clocks


@pytest.mark.parametrize("ahead", [2 * HOUR, 400 * DAY])
def test_a_host_whose_clock_runs_ahead_hides_no_entry(bench: Bench, ahead: timedelta) -> None:
    bench.serve(account_of(fill_at(NOW - 9 * DAY), fill_at(NOW - 2 * HOUR, 2)))
    bench.run(until=NOW - DAY, clock=lambda: NOW + ahead)
    bench.clock.now += MINUTE

    ours = bench.run()
    bench.clock.now += MINUTE

    assert ours.watermark == NOW_FLOORED + MINUTE
    again = bench.run()
    assert again.window is not None
    assert again.window.start == ours.watermark - HOUR


def test_two_hosts_in_turn_each_go_on_from_the_other(bench: Bench) -> None:
    bench.serve(account_of(fill_at(NOW - 2 * HOUR)))
    skew = [timedelta(0), 3 * HOUR]
    marks = []
    for turn in range(6):
        bench.clock.now += 10 * MINUTE
        at = bench.clock.now
        marks.append(bench.run(clock=lambda at=at, turn=turn: at + skew[turn % 2]).watermark)

    assert marks == sorted(marks)
    ((count, distinct),) = bench.rows("count(), uniqExact(recorded_at)", "_runs")
    assert count == distinct == 6


def test_a_failed_run_and_a_dry_run_claim_nothing(bench: Bench) -> None:
    bench.serve(account_of(fill_at(NOW - 2 * HOUR)))
    bench.run(dry_run=True)
    bench.faults.html_instead_of_json = 1.0
    with pytest.raises(Exception, match="HTML"):
        bench.run()
    bench.faults.html_instead_of_json = 0.0

    assert bench.runs("status, watermark, table_identity, fills_held") == [("failed", None, "", 0)]
    first = bench.run()
    assert (first.notes, first.window and first.window.start) == ([], None)


# Open breaks


def junk(bench: Bench, fill_id: str, at: datetime) -> None:
    bench.warehouse.insert(
        bench.tables.name(),
        ("ts", "fill_id", "exchange_order_id", "market_ticker"),
        [(at, fill_id, "no-order", "KX")],
    )


def remove(bench: Bench, fill_id: str) -> None:
    bench.warehouse.command(
        f"ALTER TABLE {bench.tables.name()} DELETE WHERE fill_id = {{f:String}} "
        "SETTINGS mutations_sync = 2",
        {"f": fill_id},
    )


def test_an_unexpected_row_is_named_until_a_run_of_its_range_finds_nothing(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.serve(account_of(fill_at(NOW - 2 * DAY)))
    bench.run()
    junk(bench, "stray", NOW - 30 * MINUTE)
    found = bench.run()
    assert [one.kind for one in found.breaks] == ["unexpected"]
    assert found.open_breaks == 1
    bench.clock.now += 2 * HOUR
    assert bench.run().has_findings

    for _ in range(3):  # it ages out of the window
        bench.clock.now += 2 * HOUR
        later = bench.run()
        assert not later.has_findings
        assert later.open_breaks == 1
        (note,) = later.notes
        assert "unexpected fill stray" in note
        assert "kalshi-fills sync --since 2026-11-22T11:30:00Z" in note
    show_sync(later, bench.tables)
    assert "Next: kalshi-fills diagnose --since 2026-11-22T11:30:00Z" in capsys.readouterr().out
    assert sync_json(later)["next"] == "kalshi-fills diagnose --since 2026-11-22T11:30:00Z"
    assert bench.runs("open_breaks, length(notes)")[-1] == (1, 1)

    still = bench.run(since=NOW - HOUR)
    assert still.has_findings
    assert still.open_breaks == 1
    remove(bench, "stray")
    repaired = bench.run(since=NOW - HOUR)
    assert (repaired.open_breaks, repaired.notes) == (0, [])
    bench.clock.now += MINUTE
    assert bench.run().open_breaks == 0


def test_what_was_not_compared_is_not_called_repaired(bench: Bench) -> None:
    bench.serve(account_of(fill_at(NOW - 2 * DAY)))
    bench.run()
    junk(bench, "stray", NOW - 30 * MINUTE)
    bench.run()
    bench.serve(account_of(fill_at(NOW - 2 * DAY)), as_of_lag_seconds=6 * 3600)

    lagging = bench.run(since=NOW - DAY)

    assert lagging.breaks == []
    assert lagging.open_breaks == 1


def test_another_key_goes_on_naming_what_is_open(bench: Bench) -> None:
    bench.serve(account_of(fill_at(NOW - 2 * DAY)))
    bench.run()
    junk(bench, "stray", NOW - 30 * MINUTE)
    bench.run()
    bench.account = account_of_key("practice", "another-key")
    bench.clock.now += 5 * HOUR

    assert bench.run(since=bench.clock.now - HOUR).open_breaks == 1
    assert bench.run().open_breaks == 1  # from the first fill on: found anew, not twice


def test_a_diagnosis_that_follows_finds_it(desk: Desk) -> None:
    desk.healthy(account_of(fill_at(NOW - 2 * DAY)))
    junk(desk, "stray", NOW - 30 * MINUTE)
    desk.run()
    desk.clock.now += 5 * HOUR
    since = desk.run().open_since
    assert since is not None

    found = desk.diagnose(desk.clock.now - since)

    assert [(one.kind, one.fill_id) for one in found.breaks] == [("unexpected", "stray")]


# How open breaks are kept


def broken(number: int) -> OpenBreak:
    return OpenBreak("unexpected", f"f{number}", "o", NOW - number * MINUTE)


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 5_000])
def test_open_breaks_come_back_as_they_were(count: int) -> None:
    kept = OpenBreaks(map(broken, range(count)))
    text = kept.as_json()

    assert len(text) < 15_000
    back = read_open_breaks(text)
    assert (len(back), back.since, back.listed) == (count, kept.since, kept.listed)


def test_those_beyond_the_list_stay_until_all_their_range_is_covered() -> None:
    kept = OpenBreaks(map(broken, range(150)))

    assert len(kept.outside(Window(NOW - 120 * MINUTE, NOW + SECOND))) == 50
    assert len(kept.outside(Window(NOW - 149 * MINUTE, NOW + SECOND))) == 0
    assert len(kept.outside(Window(None, NOW - 99 * MINUTE - SECOND))) == 100


@pytest.mark.parametrize("text", ["", "x", "[]", "7", '{"listed": [[1]]}', '{"more": "x"}', "null"])
def test_what_cannot_be_read_of_them_is_left_out(text: str) -> None:
    assert len(read_open_breaks(text)) == 0


def test_names_of_the_report_are_there_from_the_start() -> None:
    report: Any = SyncReport(uuid.uuid4())
    assert (report.open_breaks, report.open_since, report.notes) == (0, None, [])
