"""What one pass stores, whatever the exchange lists and how."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import uuid
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from support.passes import Meddling, delete
from support.syncing import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    NOW_FLOORED,
    SECOND,
    TRUTH_COLUMNS,
    Bench,
    account_of,
    canonical,
    fill_at,
    one_day,
    truth,
)

from kalshi_fills.errors import CountsError, ExchangeError, Interrupted
from kalshi_fills.exchange.endpoints import Exchange
from kalshi_fills.pipeline.batch import Batch
from kalshi_fills.pipeline.stages import Counts
from kalshi_fills.practice.account import PracticeFill, generate_account
from kalshi_fills.practice.faults import Faults
from kalshi_fills.sync import intake
from kalshi_fills.sync.report import SyncReport
from kalshi_fills.warehouse.fills import WriteOutcome
from kalshi_fills.warehouse.runs import Run
from kalshi_fills.warehouse.store import FillStore

# Everything there is


def test_two_tiers_and_all_eras_with_junk_in_between_are_stored_exactly(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "BLOCK_FILLS", 700)
    account = generate_account(
        11, 2_100, start=datetime(2025, 4, 1, tzinfo=UTC), end=NOW - HOUR, junk_share=0.2
    )
    cutoff = datetime(2026, 5, 1, tzinfo=UTC)
    assert len({account.era_of(fill) for fill in account.fills}) == 4
    bench.serve(account, cutoff=cutoff)

    first = bench.run()

    assert bench.fills() == truth(account, cutoff)
    assert first.counts.n_new == 2_100
    assert first.counts.n_rejected == len(account.junk) == 525
    assert first.breaks == []
    assert first.has_findings
    stored = bench.rows("fill_id, raw_json")
    told = {fill.fill_id: fill.payload_json(account.era_of(fill)) for fill in account.fills}
    assert dict(stored) == told
    assert quarantine(bench) == Counter(canonical(item.value) for item in account.junk)

    before = bench.rows(f"{TRUTH_COLUMNS}, version, run_id, raw_json")
    second = bench.run()

    assert (second.counts.n_inserted, second.counts.n_known) == (0, 2_100)
    assert bench.rows(f"{TRUTH_COLUMNS}, version, run_id, raw_json") == before
    assert bench.physical()[""] == 2_100
    assert {key: 2 * count for key, count in quarantine(bench).items()} != {}
    assert quarantine(bench) == Counter(
        [canonical(item.value) for item in account.junk for _ in range(2)]
    )


def quarantine(bench: Bench) -> Counter[str]:
    found = bench.rows("raw_json, times_seen", "_rejected")
    return Counter({canonical(json.loads(raw)): times for raw, times in found})


@pytest.mark.parametrize("era", ["current", "current_minimal", "transitional", "legacy", "readme"])
def test_each_era_is_stored_exactly(bench: Bench, era: Any) -> None:
    account = one_day(150, eras=era)
    bench.serve(account)

    done = bench.run()

    assert bench.fills() == truth(account)
    assert not done.has_findings


def test_a_bare_list_of_everything_is_read_too(bench: Bench) -> None:
    account = one_day(40)
    bench.serve(account, legacy_bare_list=True)

    bench.run()

    assert bench.fills() == truth(account)


def test_an_empty_account_is_a_normal_run(bench: Bench) -> None:
    bench.serve(account_of())

    done = bench.run()

    assert done.counts == Counts()
    assert done.watermark is None  # so does an exchange in maintenance look
    assert not done.has_findings
    assert bench.runs("status, n_api, watermark") == [("done", 0, None)]
    assert bench.run().watermark is None


def test_only_junk_leaves_the_table_empty(bench: Bench) -> None:
    bench.serve(account_of())
    for item in (None, 7, "text", [1], {}, {"status": "resting", "order_id": "o"}):
        bench.exchange.insert_item(item, NOW - HOUR)

    done = bench.run()

    assert (done.counts.n_api, done.counts.n_rejected, done.counts.n_new) == (6, 6, 0)
    assert (done.claims, done.breaks) == (0, [])
    assert done.has_findings
    assert sum(quarantine(bench).values()) == 6


def test_the_ledger_holds_the_run_as_the_report_does(bench: Bench) -> None:
    account = one_day(50, junk_share=0.2)
    bench.serve(account)

    done = bench.run()

    names = list(done.counts.as_dict())
    facts = bench.runs(
        f"{', '.join(names)}, status, run_id, started_at, finished_at > started_at, window_start, "
        "window_end, host, pid, error"
    )
    assert facts == [
        (
            *done.counts.as_dict().values(),
            "done",
            done.run_id,
            NOW,
            1,
            None,
            NOW,
            socket.gethostname(),
            os.getpid(),
            "",
        )
    ]


def test_the_log_line_has_the_names_that_operators_grep_for(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.serve(one_day(30))

    with caplog.at_level(logging.INFO, logger="kalshi_fills"):
        done = bench.run()

    lines = [record for record in caplog.records if record.getMessage() == "fill_pipeline_stats"]
    assert len(lines) == 1
    fields = lines[0].fields  # type: ignore[attr-defined]
    assert fields["run_id"] == str(done.run_id)
    assert {name: fields[name] for name in done.counts.as_dict()} == done.counts.as_dict()
    for name in ("predicate_pass_rate", "validation_pass_rate", "gate_pass_rate"):
        assert fields[name] == "100.0%"


# Windows


def test_a_window_stores_its_fills_and_only_its_neighbours(bench: Bench) -> None:
    account = one_day(300)
    bench.serve(account)
    since, until = NOW - 10 * HOUR, NOW - 4 * HOUR

    done = bench.run(since=since, until=until)

    wanted = {row[0] for row in truth(account) if since <= row[2] < until}
    near = {row[0] for row in truth(account) if since - 2 * SECOND <= row[2] < until + 3 * SECOND}
    stored = {row[0] for row in bench.fills()}
    assert 0 < len(wanted) < 300
    assert wanted <= stored <= near
    assert done.window == (since, until)
    assert not done.has_findings
    assert bench.runs("window_start, window_end") == [(since, until)]


def test_fills_just_outside_the_window_are_stored_and_not_compared(bench: Bench) -> None:
    start, end = NOW - 3 * HOUR, NOW - 2 * HOUR
    half = SECOND / 2
    moments = [start - half, start, end - half, end, end + half]
    account = account_of(*(fill_at(moment, number) for number, moment in enumerate(moments)))
    bench.serve(account)
    rows = {}

    def change_the_outer_ones() -> None:
        for number in (0, 3, 4):
            bench.warehouse.command(delete(bench, fill_at(NOW, number)))
        rows["left"] = bench.rows("fill_id")

    done = bench.run(
        since=start,
        until=end,
        warehouse=Meddling(bench.warehouse, change_the_outer_ones),
    )

    assert done.counts.n_new == 5
    assert len(rows["left"]) == 2
    assert done.breaks == []


def test_a_run_reads_from_the_watermark_less_the_overlap(bench: Bench) -> None:
    bench.serve(one_day(20))
    bench.run()
    bench.clock.now = NOW + 2 * HOUR

    done = bench.run()

    assert done.window == (NOW_FLOORED - HOUR, NOW + 2 * HOUR)
    assert done.counts.n_api == 0
    assert bench.run(overlap=3 * HOUR).window == (
        (NOW + 2 * HOUR).replace(microsecond=0) - 3 * HOUR,
        NOW + 2 * HOUR,
    )


def test_full_reads_everything_again(bench: Bench) -> None:
    account = one_day(80)
    bench.serve(account)
    bench.run()

    again = bench.run(full=True)

    assert again.window is not None
    assert again.window.start is None
    assert (again.counts.n_api, again.counts.n_known) == (80, 80)


def test_late_fills_within_the_overlap_are_picked_up(bench: Bench) -> None:
    bench.serve(one_day(20))
    bench.run()
    bench.clock.now = NOW + 10 * MINUTE
    within, before = fill_at(NOW - 50 * MINUTE, 1), fill_at(NOW - 90 * MINUTE, 2)
    bench.exchange.add([within, before])

    done = bench.run()

    assert done.counts.n_new == 1
    assert {within.fill_id} == {row[0] for row in bench.fills()} & {within.fill_id, before.fill_id}
    assert bench.run(overlap=3 * HOUR).counts.n_new == 1


# A dry run


def test_a_dry_run_does_everything_but_write(bench: Bench) -> None:
    account = one_day(120, junk_share=0.2)
    bench.serve(account)

    dry = bench.run(dry_run=True)

    assert bench.physical() == {"": 0, "_rejected": 0, "_runs": 0}
    assert dry.dry_run
    assert dry.has_findings
    wet = bench.run()
    assert dry.counts == wet.counts
    assert (dry.watermark, dry.would_be_watermark) == (None, wet.watermark)
    written = bench.physical()
    bench.run(dry_run=True, accept_rejected=True)
    bench.run(dry_run=True, full=True)
    assert bench.physical() == written


def test_a_dry_run_that_fails_writes_nothing(bench: Bench) -> None:
    bench.serve(one_day(20))
    bench.faults.server_error = 1.0

    with pytest.raises(ExchangeError):
        bench.run(dry_run=True)

    assert bench.physical() == {"": 0, "_rejected": 0, "_runs": 0}


def test_a_dry_run_closes_no_dead_run(bench: Bench) -> None:
    bench.serve(account_of())
    record_run(bench, pid=dead_pid())

    bench.run(dry_run=True)

    assert bench.runs("status") == [("running",)]


# Runs that fail


def test_a_failed_run_leaves_the_watermark_and_the_next_one_reads_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "BLOCK_FILLS", 500)
    account = generate_account(3, 12_000, start=NOW - 2 * DAY, end=NOW - HOUR)
    bench.serve(account)
    bench.run(until=NOW - 40 * HOUR)
    bench.clock.now = NOW + MINUTE
    failed = SyncReport(uuid.uuid4())

    def break_after_the_first_page(report: SyncReport) -> None:
        bench.faults.server_error = 1.0

    with pytest.raises(ExchangeError):
        bench.run(progress=break_after_the_first_page, report=failed)

    assert failed.status == "failed"
    assert failed.stage == "fetch"
    assert bench.runs("status, watermark") == [
        ("done", NOW_FLOORED - 40 * HOUR),
        ("failed", None),
    ]
    error, counted = bench.runs("error, n_api")[1]
    assert "fetch" in error
    assert 1_000 <= counted < 12_000
    stored = bench.rows("count()")[0][0]
    assert 0 < stored < 12_000

    bench.faults.server_error = 0.0
    healed = bench.run()

    assert bench.fills() == truth(account)
    assert healed.window is not None
    assert healed.window.start == NOW_FLOORED - 41 * HOUR
    assert healed.watermark == (NOW + MINUTE).replace(microsecond=0)


def test_an_interrupted_run_is_recorded_as_failed(bench: Bench) -> None:
    bench.serve(one_day(30))

    def interrupt(_: SyncReport) -> None:
        raise Interrupted("ended by SIGTERM", hint="run it again")

    with pytest.raises(Interrupted):
        bench.run(progress=interrupt)

    assert [row[:2] for row in bench.runs("status, watermark, error")] == [("failed", None)]


def test_counts_that_do_not_add_up_record_nothing_as_done(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.serve(one_day(30))
    write = FillStore.write

    def forgetful(self: FillStore, batch: Batch, **how: bool) -> WriteOutcome:
        outcome = write(self, batch, **how)
        return outcome._replace(n_new=outcome.n_new - 1)

    monkeypatch.setattr(FillStore, "write", forgetful)

    with pytest.raises(CountsError) as caught:
        bench.run()

    assert caught.value.exit_code == 6
    assert bench.runs("status, watermark") == [("failed", None)]


def dead_pid() -> int:
    """Return the id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def record_run(
    bench: Bench, pid: int, host: str | None = None, began: datetime = NOW - HOUR
) -> uuid.UUID:
    run_id = uuid.uuid4()
    FillStore(bench.warehouse, bench.tables, run_id, began, False).record(
        Run(
            run_id,
            "running",
            began,
            None,
            None,
            began,
            None,
            Counts(),
            host or socket.gethostname(),
            pid,
        ),
        began,
    )
    return run_id


def test_a_run_that_died_is_closed_as_failed(bench: Bench) -> None:
    bench.serve(account_of())
    died = record_run(bench, dead_pid())

    bench.run()

    status, finished, watermark, error = bench.runs("status, finished_at, watermark, error")[0]
    assert bench.runs("run_id")[0] == (died,)
    assert (status, watermark) == ("failed", None)
    assert finished >= NOW
    assert error


def test_a_run_of_another_host_or_a_living_process_is_left_alone_and_told_of(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.serve(account_of())
    record_run(bench, dead_pid(), host="another-host")
    record_run(bench, os.getppid())

    report = bench.run()

    assert sorted(report.other_hosts) == sorted(["another-host", socket.gethostname()])
    told = [
        entry.__dict__["fields"]
        for entry in caplog.records
        if entry.getMessage() == "another_run_at_work"
    ]
    assert {(entry["host"], entry["process"] == os.getppid()) for entry in told} == {
        ("another-host", False),
        (socket.gethostname(), True),
    }
    assert sorted(bench.runs("status")) == [("done",), ("running",), ("running",)]


def test_a_living_process_whose_run_began_hours_ago_has_another_ones_id(bench: Bench) -> None:
    bench.serve(account_of())
    record_run(bench, os.getppid(), began=NOW - 7 * HOUR)

    report = bench.run()

    assert report.other_hosts == []
    assert bench.runs("status") == [("failed",), ("done",)]


def test_a_run_that_died_with_the_id_this_process_has_now_is_closed(bench: Bench) -> None:
    """In a container every run may be process 1 on the same host."""
    bench.serve(account_of())
    record_run(bench, os.getpid())

    bench.run()

    assert bench.runs("status") == [("failed",), ("done",)]


def test_a_clock_set_back_during_a_run_does_not_leave_it_running(bench: Bench) -> None:
    bench.serve(one_day(10))
    moments = iter([NOW + SECOND, NOW, NOW])

    bench.run(clock=lambda: next(moments))

    assert bench.runs("status, watermark") == [("done", NOW_FLOORED)]


# The same fill more than once


def test_a_fill_sent_twice_in_one_pass_is_counted_once(bench: Bench) -> None:
    account = one_day(50, eras="current")
    bench.serve(account)
    for number in (5, 20, 20):
        fill = account.fills[number]
        bench.exchange.insert_item(fill.payload("current"), at=number)

    done = bench.run()

    assert (done.counts.n_new, done.counts.n_duplicate) == (50, 3)
    assert bench.fills() == truth(account)
    assert not done.has_findings


def test_pages_that_overlap_repeat_and_come_empty_change_nothing(bench: Bench) -> None:
    account = generate_account(9, 3_400, start=NOW - DAY, end=NOW - HOUR)
    bench.faults = Faults(overlap_page=0.4, repeat_page=0.3, empty_page=0.3, seed=4)
    bench.serve(account)

    done = bench.run()

    assert sum(bench.faults.injected.values()) > 1
    assert done.counts.n_duplicate > 0
    assert bench.fills() == truth(account)
    assert not done.has_findings


@pytest.mark.parametrize("block", [20_000, 1], ids=["one block", "a block for each page"])
def test_an_archived_copy_without_the_newer_fields_is_the_same_fill(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(intake, "BLOCK_FILLS", block)
    fill = fill_at(NOW - 10 * HOUR, subaccount=1, exchange_index=2)
    account = account_of(fill)
    bench.serve(account, cutoff=NOW - 11 * HOUR)
    archived = fill.payload("legacy")
    assert "fee_cost" not in archived
    bench.exchange.insert_item(archived, NOW - 12 * HOUR)

    done = bench.run()

    assert (done.counts.n_new, done.counts.n_duplicate) == (1, 1)
    assert not done.has_findings
    assert bench.rows(
        "fee_dollars, subaccount_number, exchange_index, direction_inferred, source"
    ) == [(fill.fee, 1, 2, False, "live")]
    assert bench.run(full=True).counts.n_inserted == 0


def test_a_fill_that_moved_to_the_archive_keeps_its_newer_fields(bench: Bench) -> None:
    fill = fill_at(NOW - 10 * HOUR, subaccount=1, exchange_index=2)
    bench.serve(account_of(fill))
    bench.run()
    bench.serve(account_of(), cutoff=NOW - HOUR)
    bench.exchange.insert_item(fill.payload("legacy"), NOW - 10 * HOUR)

    done = bench.run(full=True)

    assert (done.counts.n_known, done.counts.n_inserted) == (1, 0)
    assert not done.has_findings
    assert bench.rows("fee_dollars, subaccount_number, exchange_index") == [(fill.fee, 1, 2)]


@pytest.mark.parametrize("block", [20_000, 1], ids=["one block", "a block for each page"])
def test_two_copies_that_contradict_each_other_are_a_mismatch(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(intake, "BLOCK_FILLS", block)
    fill = fill_at(NOW - 10 * HOUR)
    bench.serve(account_of(fill), cutoff=NOW - 11 * HOUR)
    other = replace(fill, count=Decimal("11.00")).payload("current")
    bench.exchange.insert_item(other, NOW - 12 * HOUR)

    done = bench.run()

    assert [(one.kind, one.field) for one in done.breaks] == [("mismatch", "size")]
    assert {done.breaks[0].exchange, done.breaks[0].table} == {Decimal(10), Decimal(11)}
    assert (done.counts.n_new, done.counts.n_duplicate) == (1, 1)
    assert done.has_findings
    assert bench.rows("count()") == [(1,)]


# While the pass reads


def test_a_cutoff_that_moves_during_the_walk_loses_nothing(bench: Bench) -> None:
    account = generate_account(8, 3_200, start=NOW - 2 * DAY, end=NOW - HOUR)
    bench.serve(account, cutoff=NOW - 40 * HOUR)
    moves = iter([NOW - 20 * HOUR, NOW - 10 * HOUR, NOW - 5 * HOUR, NOW - 5 * HOUR])

    def move(_: SyncReport) -> None:
        bench.exchange.set_cutoff(next(moves, NOW - 5 * HOUR))

    done = bench.run(progress=move)

    columns = slice(0, 18)  # which tier a fill was met in depends on when
    assert [row[columns] for row in bench.fills()] == [row[columns] for row in truth(account)]
    assert not done.has_findings


def test_a_fill_found_only_where_the_cutoff_moved_is_stored_compared_and_its_settlements_read(
    bench: Bench,
) -> None:
    at = NOW - 30 * HOUR
    exchange = bench.serve(account_of(fill_at(at, 1), fill_at(NOW - HOUR, 2)), cutoff=at + HOUR)

    def move(report: SyncReport) -> None:
        if report.pages == 2:  # both tiers are read to their ends
            exchange.add([fill_at(at + 2 * HOUR, 3, subaccount=5)])
            exchange.set_cutoff(at + 3 * HOUR)

    done = bench.run(progress=move)

    assert done.counts.n_new == 3
    assert done.pages == 4
    assert not done.has_findings
    assert done.open_breaks == 0
    # The table was read once more, or the seam's hour would have been asked for again.
    asked = exchange.requests
    assert (asked["/portfolio/fills"], asked["/historical/fills"]) == (2, 2)
    ledger = bench.tables.name("_runs")
    (subaccounts,) = bench.warehouse.rows(f"SELECT settlements_subaccounts FROM {ledger} FINAL")
    assert list(subaccounts[0]) == [0, 5]


def test_a_cutoff_that_is_gone_at_the_end_fails_the_run_at_its_step_and_the_next_repairs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.serve(account_of(fill_at(NOW - HOUR)), cutoff=NOW - 20 * HOUR)
    answers = iter([NOW - 20 * HOUR, None])
    report = SyncReport(uuid.uuid4(), False)
    with monkeypatch.context() as patched:
        patched.setattr(Exchange, "_ask_cutoff", lambda *_: next(answers))
        with pytest.raises(ExchangeError, match="cutoff once and then no more"):
            bench.run(report=report)
    assert (report.status, report.stage, report.watermark) == ("failed", "fetch", None)
    assert bench.rows("count()") == [(1,)]

    assert bench.run().counts.n_known == 1


def test_fills_that_come_while_the_pass_reads_are_stored_by_the_next_at_the_latest(
    bench: Bench,
) -> None:
    account = generate_account(8, 2_200, start=NOW - DAY, end=NOW - HOUR, eras="current")
    bench.serve(account)
    added: list[PracticeFill] = []

    def trade(report: SyncReport) -> None:
        number = 1_000 + report.pages
        new = [
            fill_at(NOW - MINUTE + report.pages * SECOND, number),
            fill_at(NOW - 50 * MINUTE, number + 1_000),
        ]
        bench.exchange.add(new)
        added.extend(new)

    done = bench.run(progress=trade)

    assert added
    assert not done.has_findings
    bench.clock.now = NOW + 5 * MINUTE
    assert not bench.run().has_findings
    everything = replace(account, fills=[*account.fills, *added])
    assert bench.fills() == truth(everything)
    assert bench.run(full=True).counts.n_inserted == 0
