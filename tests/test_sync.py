"""One pass after another, from a practice exchange over a real socket into both engines."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
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
    claim,
    fill_at,
    one_day,
    truth,
)

from kalshi_fills.errors import CountsError, ExchangeError, Interrupted, SettingsError
from kalshi_fills.pipeline.stages import Counts
from kalshi_fills.practice.account import PracticeFill, generate_account
from kalshi_fills.practice.faults import Faults
from kalshi_fills.report.breaks import break_json
from kalshi_fills.sync import intake
from kalshi_fills.sync.report import SyncReport
from kalshi_fills.warehouse.client import Column, Warehouse
from kalshi_fills.warehouse.fills import Written
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
    assert dry.watermark == wet.watermark
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


# The watermark


@pytest.mark.parametrize(
    ("lag", "until", "expected"),
    [
        (0, None, NOW_FLOORED),
        (3_600.25, None, NOW_FLOORED - HOUR),
        (0, NOW - 3 * HOUR, NOW_FLOORED - 3 * HOUR),
        (7_200, NOW - HOUR, NOW_FLOORED - 2 * HOUR),
    ],
)
def test_the_watermark_is_the_lesser_of_window_end_and_what_is_current(
    bench: Bench, lag: float, until: datetime | None, expected: datetime
) -> None:
    bench.serve(one_day(10), as_of_lag_seconds=lag)

    done = bench.run(until=until)

    assert done.watermark == expected
    assert bench.runs("watermark") == [(expected,)]


def test_the_watermark_stays_behind_where_nothing_says_what_is_current(bench: Bench) -> None:
    bench.serve(one_day(10, subaccounts=(0,)), restricted_subaccount=0)

    assert bench.run().watermark == NOW_FLOORED - 15 * MINUTE
    assert bench.run(full=True, until=NOW - HOUR).watermark == NOW_FLOORED - 15 * MINUTE


def test_a_window_that_does_not_reach_back_does_not_move_it(bench: Bench) -> None:
    bench.serve(one_day(10))

    assert bench.run(since=NOW - 2 * HOUR).watermark is None
    assert bench.runs("status, watermark") == [("done", None)]
    first = bench.run(until=NOW - 6 * HOUR).watermark
    assert first == NOW_FLOORED - 6 * HOUR
    assert bench.run(since=NOW - 5 * HOUR).watermark == first
    assert bench.run(since=first + SECOND).watermark == first
    assert bench.run(since=first).watermark == NOW_FLOORED


def test_a_run_after_one_that_did_not_reach_back_fills_the_hole(bench: Bench) -> None:
    account = one_day(200)
    bench.serve(account)
    bench.run(until=NOW - 20 * HOUR)
    bench.run(since=NOW - 3 * HOUR)

    bench.run()

    assert bench.fills() == truth(account)


def test_a_window_of_long_ago_takes_nothing_back(bench: Bench) -> None:
    bench.serve(one_day(10))
    bench.run()

    past = {"since": NOW - 20 * HOUR, "until": NOW - 10 * HOUR}
    assert bench.run(**past).watermark == NOW_FLOORED
    assert bench.run(full=True, until=NOW - 10 * HOUR).watermark == NOW_FLOORED


def test_an_end_before_the_start_of_the_window_is_refused(bench: Bench) -> None:
    bench.serve(one_day(10))
    bench.run()

    with pytest.raises(SettingsError, match="--until lies before"):
        bench.run(until=NOW - 10 * HOUR)


def test_data_less_current_than_before_take_nothing_back(bench: Bench) -> None:
    account = one_day(10)
    bench.serve(account)
    bench.run()
    bench.serve(account, as_of_lag_seconds=7_200)

    assert bench.run().watermark == NOW_FLOORED


def test_the_newest_fill_is_not_the_watermark(bench: Bench) -> None:
    bench.serve(account_of(fill_at(NOW - 5 * HOUR)), as_of_lag_seconds=60)

    assert bench.run().watermark == NOW_FLOORED - MINUTE


# Refused items that claim to be fills


def test_the_watermark_does_not_pass_a_refused_claim_until_it_is_accepted(bench: Bench) -> None:
    moment = NOW - 5 * HOUR + timedelta(microseconds=7)
    bench.serve(one_day(30))
    bench.exchange.insert_item(claim(moment), moment)

    first = bench.run()

    assert first.claims == 1
    assert first.has_findings
    assert first.watermark == moment.replace(microsecond=0)
    bench.clock.now = NOW + DAY
    second = bench.run()
    assert second.watermark == moment.replace(microsecond=0)
    assert second.has_findings

    accepting = bench.run(accept_rejected=True)

    assert not accepting.has_findings
    assert accepting.counts.n_rejected == 1
    assert accepting.watermark == (NOW + DAY).replace(microsecond=0)
    after = bench.run(full=True)
    assert (after.claims, after.counts.n_rejected) == (0, 1)
    assert not after.has_findings
    assert bench.rows("accepted, times_seen", "_rejected") == [(True, 4)]


def test_an_upgraded_tool_heals_the_hole_by_itself(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = one_day(30, eras="current")
    unreadable = account.fills[7]
    bench.serve(account)
    read = intake.classify

    def older(items: Iterable[Any], *rest: Any) -> Any:
        return read(
            [
                (claim_of(value), text) if unreadable.fill_id in text else (value, text)
                for value, text in items
            ],
            *rest,
        )

    def claim_of(value: Any) -> Any:
        return {name: content for name, content in value.items() if name != "count_fp"}

    monkeypatch.setattr(intake, "classify", older)
    assert bench.run().claims == 1
    monkeypatch.setattr(intake, "classify", read)
    bench.clock.now = NOW + 7 * DAY

    healed = bench.run()

    assert healed.counts.n_new == 1
    assert not healed.has_findings
    assert bench.fills() == truth(account)


def test_a_later_claim_does_not_hide_an_earlier_one(bench: Bench) -> None:
    bench.serve(account_of(fill_at(NOW - HOUR)))
    for number, hours in enumerate((3, 9, 6)):
        moment = NOW - hours * HOUR
        bench.exchange.insert_item(claim(moment, fill_id=f"claim-{number}"), moment)

    done = bench.run()

    assert done.claims == 3
    assert done.watermark == (NOW - 9 * HOUR).replace(microsecond=0)


def test_a_claim_refused_after_an_acceptance_holds_the_watermark_again(bench: Bench) -> None:
    bench.serve(account_of())
    bench.exchange.insert_item(claim(NOW - 3 * HOUR), NOW - 3 * HOUR)
    bench.run(accept_rejected=True)
    bench.clock.now = NOW + HOUR
    late = NOW + 10 * MINUTE
    bench.exchange.insert_item(claim(late, fill_id="another"), late)
    bench.exchange.add([fill_at(late)])

    done = bench.run()

    assert done.has_findings
    assert done.watermark == late.replace(microsecond=0)


def test_a_claim_without_a_time_leaves_the_watermark_where_it_was(bench: Bench) -> None:
    bench.serve(account_of(fill_at(NOW - 20 * HOUR)))
    bench.run(until=NOW - 10 * HOUR)
    bench.exchange.insert_item(claim(), NOW - 5 * HOUR)

    assert bench.run().watermark == NOW_FLOORED - 10 * HOUR
    assert bench.run(accept_rejected=True).watermark == NOW_FLOORED


def test_a_claim_without_a_time_on_the_first_run_leaves_no_watermark(bench: Bench) -> None:
    bench.serve(account_of())
    bench.exchange.insert_item(claim(), NOW - 5 * HOUR)

    assert bench.run().watermark is None
    assert bench.run().has_findings


@pytest.mark.parametrize("time", ["2999-01-01T00:00:00Z", "2026-11-22T12:30:00Z"])
def test_a_claim_of_a_time_to_come_is_not_passed(bench: Bench, time: str) -> None:
    """Its place in the listing is hours ago, so that a moved watermark would lose sight of it."""
    bench.serve(account_of())
    bench.run(until=NOW - 10 * HOUR)
    bench.exchange.insert_item(claim(NOW, created_time=time), NOW - 5 * HOUR)

    assert bench.run().has_findings
    bench.clock.now = NOW + 5 * HOUR

    assert bench.run().has_findings


@pytest.mark.parametrize(
    "time",
    [
        pytest.param(
            "0001-01-01T00:00:00Z",
        ),
        "1970-01-01T00:00:00Z",
        "2020-12-31T23:59:59Z",
    ],
)
def test_a_claim_of_an_empty_time_breaks_no_later_run(bench: Bench, time: str) -> None:
    """The first instant is what a time that was never set looks like on the wire."""
    bench.serve(account_of(fill_at(NOW - HOUR)))
    bench.run(until=NOW - 10 * HOUR)
    bench.exchange.insert_item(claim(NOW, created_time=time), NOW - 5 * HOUR)

    for _ in range(2):
        assert bench.run().has_findings
        assert bench.rows("count()") == [(1,)]
    assert not bench.run(accept_rejected=True).has_findings
    assert bench.run().watermark == NOW_FLOORED


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

    def forgetful(self: FillStore, block: Mapping[Any, Any]) -> list[Written]:
        return write(self, block)[1:]

    monkeypatch.setattr(FillStore, "write", forgetful)

    with pytest.raises(CountsError) as caught:
        bench.run()

    assert caught.value.exit_code == 6
    assert bench.runs("status, watermark") == [("failed", None)]


def dead_pid() -> int:
    """Give the id of a process that has ended."""
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


# The exchange against the table


class Meddling:
    """A warehouse with which somebody meddles once, between the write and the comparison."""

    def __init__(self, real: Warehouse, meddle: Callable[[], None]) -> None:
        self.real = real
        self.meddle: Callable[[], None] | None = meddle

    def rows(self, sql: str, *asked: Any, **more: Any) -> list[tuple[Any, ...]]:
        if "digest_sum" in sql and self.meddle is not None:
            meddle, self.meddle = self.meddle, None
            meddle()
        return self.real.rows(sql, *asked, **more)

    def command(self, sql: str, params: Mapping[str, object] | None = None) -> None:
        self.real.command(sql, params)

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        self.real.insert(table, columns, rows)

    def insert_columns(
        self, table: str, columns: Sequence[Column], statement: str | None = None
    ) -> None:
        self.real.insert_columns(table, columns, statement)

    def close(self) -> None:
        self.real.close()


def delete(bench: Bench, fill: PracticeFill) -> str:
    return (
        f"ALTER TABLE {bench.tables.name()} DELETE WHERE fill_id = '{fill.fill_id}' "
        "SETTINGS mutations_sync = 2"
    )


def replaced(bench: Bench, fill: PracticeFill, changes: str) -> str:
    """Give the statement that writes a later version of a fill's row."""
    return (
        f"INSERT INTO {bench.tables.name()} SELECT * REPLACE (version + 1 AS version, {changes}) "
        f"FROM {bench.tables.name()} FINAL WHERE fill_id = '{fill.fill_id}'"
    )


def engine_row(bench: Bench, moment: datetime, fill_id: str = "nobody-knows") -> None:
    bench.warehouse.insert(
        bench.tables.name(),
        ("ts", "fill_id", "exchange_order_id", "market_ticker", "side", "price_cents", "size"),
        [(moment, fill_id, "an-order", "KXT", "yes", Decimal(41), Decimal(10))],
    )


@pytest.fixture(params=[{}, {"since": NOW - DAY - HOUR}], ids=["everything", "a window"])
def window(request: pytest.FixtureRequest) -> dict[str, Any]:
    return request.param


def test_a_row_that_vanished_is_missing(bench: Bench, window: dict[str, Any]) -> None:
    account = one_day(80)
    bench.serve(account)
    victim = account.fills[40]

    done = bench.run(
        **window,
        warehouse=Meddling(bench.warehouse, lambda: bench.warehouse.command(delete(bench, victim))),
    )

    assert [(one.kind, one.scope, one.fill_id, one.order_id) for one in done.breaks] == [
        ("missing", "fill", victim.fill_id, victim.order_id)
    ]
    found = done.breaks[0]
    assert found.market_ticker == victim.ticker
    assert found.field is None
    assert found.table is None
    assert str(victim.count) in (break_json(found)["exchange"] or "")
    assert done.has_findings
    assert bench.run(full=True).breaks == []
    assert bench.fills() == truth(account)


def test_the_next_run_stores_what_was_found_missing(bench: Bench) -> None:
    """The watermark is the time up to which every fill is known to be stored."""
    account = one_day(80)
    bench.serve(account)
    victim = account.fills[40]
    bench.run(
        warehouse=Meddling(bench.warehouse, lambda: bench.warehouse.command(delete(bench, victim)))
    )

    bench.run()

    assert bench.fills() == truth(account)


def test_what_a_full_run_finds_missing_long_ago_is_stored_by_the_next_default_run(
    bench: Bench,
) -> None:
    account = one_day(80)
    bench.serve(account)
    bench.run()
    victim = account.fills[70]

    found = bench.run(
        full=True,
        warehouse=Meddling(bench.warehouse, lambda: bench.warehouse.command(delete(bench, victim))),
    )
    assert [one.fill_id for one in found.breaks] == [victim.fill_id]

    bench.run()

    assert bench.fills() == truth(account)


def test_a_row_nobody_knows_is_unexpected(bench: Bench, window: dict[str, Any]) -> None:
    account = one_day(80)
    bench.serve(account)
    engine_row(bench, NOW - 12 * HOUR)

    done = bench.run(**window)

    assert [(one.kind, one.scope, one.fill_id, one.order_id) for one in done.breaks] == [
        ("unexpected", "fill", "nobody-knows", "an-order")
    ]
    assert done.breaks[0].exchange is None
    assert "41" in (break_json(done.breaks[0])["table"] or "")
    assert done.has_findings
    assert bench.rows("count()") == [(81,)]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("changes", "field", "told", "held"),
    [
        ("12.34 AS price_cents", "price_cents", "41.0000", "12.3400"),
        ("toDecimal64(9.99, 2) AS size", "size", "10.00", "9.99"),
        ("'no' AS side", "side", "yes", "no"),
        ("CAST(NULL, 'Nullable(Decimal(18, 6))') AS fee_dollars", "fee_dollars", "0.169330", ""),
        (
            "ts + toIntervalMicrosecond(1) AS ts",
            "ts",
            "2026-11-22 06:00:00.500000",
            "2026-11-22 06:00:00.500001",
        ),
    ],
)
def test_a_row_that_was_changed_is_a_mismatch_with_both_values(
    bench: Bench, window: dict[str, Any], changes: str, field: str, told: str, held: str
) -> None:
    victim = fill_at(NOW - 6 * HOUR, 1)
    bench.serve(account_of(victim, *(fill_at(NOW - 6 * HOUR, n) for n in range(2, 20))))

    done = bench.run(
        **window,
        warehouse=Meddling(
            bench.warehouse,
            lambda: bench.warehouse.command(replaced(bench, victim, changes)),
        ),
    )

    assert [tuple(break_json(one).values()) for one in done.breaks] == [
        (
            "mismatch",
            "fill",
            victim.fill_id,
            victim.order_id,
            victim.ticker,
            field,
            told,
            held,
        )
    ]
    healed = bench.run(full=True)
    assert (healed.counts.n_corrected, healed.breaks) == (1, [])


def test_breaks_of_distant_hours_are_all_found(bench: Bench) -> None:
    account = one_day(200)
    bench.serve(account)
    victims = account.fills[::40]

    def meddle() -> None:
        for victim in victims:
            bench.warehouse.command(delete(bench, victim))
        engine_row(bench, NOW - 40 * DAY)

    done = bench.run(warehouse=Meddling(bench.warehouse, meddle))

    assert {one.fill_id for one in done.breaks if one.kind == "missing"} == {
        victim.fill_id for victim in victims
    }
    assert [one.fill_id for one in done.breaks if one.kind == "unexpected"] == ["nobody-knows"]
    assert len(done.breaks) == len(victims) + 1


def test_a_row_ahead_of_the_exchange_is_no_break(bench: Bench) -> None:
    bench.serve(one_day(20), as_of_lag_seconds=600)
    engine_row(bench, NOW - 5 * MINUTE)

    assert bench.run().breaks == []
    bench.clock.now = NOW + HOUR
    assert [one.kind for one in bench.run().breaks] == ["unexpected"]


def test_a_fill_that_came_after_the_walk_is_no_break(bench: Bench) -> None:
    account = one_day(30)
    bench.serve(account)
    late = fill_at(
        datetime(1970, 1, 1, tzinfo=UTC)
        + timedelta(microseconds=account.fills[10].executed_at_us + 1)
    )

    def meddle() -> None:
        bench.exchange.add([late])
        bench.warehouse.command(delete(bench, account.fills[10]))

    done = bench.run(warehouse=Meddling(bench.warehouse, meddle))

    assert [(one.kind, one.fill_id) for one in done.breaks] == [
        ("missing", account.fills[10].fill_id)
    ]


def test_rows_of_old_engines_are_corrected_and_the_run_says_in_what(bench: Bench) -> None:
    account = one_day(30)
    bench.serve(account)
    victim = account.fills[3]
    bench.warehouse.insert(
        bench.tables.name(),
        ("ts", "fill_id", "exchange_order_id", "market_ticker", "side", "price_cents", "size"),
        [(NOW, victim.fill_id, victim.order_id, victim.ticker, victim.outcome_side, 0, 0)],
    )

    done = bench.run()

    assert (done.counts.n_corrected, done.counts.n_new) == (1, 29)
    assert {"ts", "price_cents", "size"} <= set(done.corrections.by_field)
    kept = json.loads(bench.runs("corrections")[0][0])
    assert kept["by_field"]["price_cents"] == 1
    sizes = [one for one in kept["first"] if one["field"] == "size"]
    assert [(one["fill_id"], one["table"], one["exchange"]) for one in sizes] == [
        (victim.fill_id, "0.00", str(victim.count))
    ]
    assert bench.fills() == truth(account)
    assert not done.has_findings


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
