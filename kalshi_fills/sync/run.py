"""One bounded pass: the window's fills from the exchange into the table, each exactly once.

    window -> fetch -> stages -> write -> reconcile -> record

The order is the promise: the run's row and its watermark are written last, so that a pass that
dies leaves rows and no claim, and the next one reads the same range again. Re-running is always
safe. The pass fills a `SyncReport` as it goes, which a failed pass leaves behind as far as it got.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from kalshi_fills.exchange.decode import HISTORICAL, LIVE
from kalshi_fills.exchange.tiers import fetch_fills
from kalshi_fills.pipeline.window import Window
from kalshi_fills.sync.comparison import compare_with_table, hours_stored
from kalshi_fills.sync.contested import contested_fills, reports
from kalshi_fills.sync.intake import Intake
from kalshi_fills.sync.ledger import Recorder
from kalshi_fills.sync.open_breaks import OpenBreaks, read_open_breaks
from kalshi_fills.sync.refusals import accept_refused, close_claims, report_refused
from kalshi_fills.sync.settlements import SettlementPass
from kalshi_fills.sync.tally import Tally
from kalshi_fills.sync.watermark import (
    Capped,
    SyncRequest,
    TableProof,
    cap_at_archive,
    choose_window,
    complete_until,
    moves,
    next_watermark,
    prove_table,
)
from kalshi_fills.sync.writer import Writer
from kalshi_fills.warehouse.replicas import sentences_of_down, wait_for_replicas
from kalshi_fills.warehouse.standing import (
    Account,
    SettlementsRead,
    Standing,
    TableState,
    require_same_account,
)

if TYPE_CHECKING:
    from kalshi_fills.exchange.endpoints import Exchange
    from kalshi_fills.pipeline.seen import HourDigest
    from kalshi_fills.sync.report import Progress, SyncReport
    from kalshi_fills.warehouse.store import FillStore

_PATIENCE_SECONDS: Final = 5.0
"""How long a pass that is asked to end waits for ClickHouse."""


class _Start(NamedTuple):
    """What the ledger and the table say when a pass begins."""

    ledger_read_at: datetime
    """The latest entry then: what others do to the table is entered later."""
    watermark: datetime | None
    """The one that counts."""
    table: TableState
    fills_held: int
    """Fills that the table holds at least; 0 where it is another table than the ledger's."""
    open_breaks: OpenBreaks
    """Those that earlier runs found."""
    settlements: SettlementsRead
    """How far settlements are stored."""


@dataclass(slots=True)
class _Ending:
    """What was read before it was known whether the exchange's cutoff moved."""

    blocks: int = -1
    """How many blocks were written by then."""
    stored: dict[datetime, HourDigest] | None = None
    """What the table held, by hour."""


def sync(
    exchange: Exchange,
    store: FillStore,
    request: SyncRequest,
    report: SyncReport,
    *,
    account: Account,
    now: datetime,
    clock: Callable[[], datetime],
    progress: Progress = lambda _: None,
) -> None:
    """Run one pass, and fill in its report.

    Args:
        exchange: the account.
        store: the tables, whose schema was found to be today's.
        request: what was asked for.
        report: filled in as the pass goes.
        account: whose fills these are, as the ledger keeps it.
        now: when the pass began, aware UTC; the window's end by default.
        clock: the time of ledger entries.
        progress: called after every page.

    Raises:
        SettingsError: the table holds the fills of another account; nothing was done.
        KalshiFillsError: the pass failed; the run is recorded as failed and the watermark stays.
    """
    began = time.monotonic()
    report.begin("ledger")
    ledger_read_at = store.latest_entry()
    standing = store.standing(account.key_digest)
    if not request.same_account:
        where = f"{store.tables.database}.{store.tables.fills}"
        require_same_account(standing.environment, account.environment, where)
    exchange.ask_ahead()
    recorder = Recorder(store, account, now, clock)
    report.other_hosts += [run.host for run in recorder.close_dead_runs()]
    start = _start(store, standing, request, report, ledger_read_at)
    window = report.window = choose_window(request, start.watermark, now)
    report.watermark = start.watermark
    recorder.record(report, window, "running")
    writer = Writer(store, now)
    try:
        report.begin("fetch")
        exchange.learn_limits()
        intake = Intake(now, contested_fills(store.contradicted(), now))
        current_until = _current_until(exchange, report, now)
        tally = Tally(window, report)
        subaccounts: set[int] = set()
        write = partial(_write_next_block, intake, writer, tally, subaccounts)
        settlements = SettlementPass(exchange, store, request, report, now)
        ending = _Ending()

        def end_early() -> None:
            """Write the rest and read what is compared, which stands if no page follows."""
            report.begin("insert")
            write()
            tally.add(writer.collect())
            report.begin("reconcile")
            settlements.ask_ahead(start.settlements, subaccounts)
            if not request.dry_run:
                ending.blocks, ending.stored = writer.blocks, hours_stored(store, tally)
            report.begin("fetch")

        for page in fetch_fills(exchange, window, meanwhile=end_early):
            intake.take(page, report)
            if intake.is_full or (intake.has_enough and writer.is_idle):
                write()
            report.requests = exchange.requests
            progress(report)
        report.begin("insert")
        tally.add(writer.collect())
        intake.release_contested(reports(store.payloads(intake.beaten()), now), window)
        write()
        tally.add(writer.collect())
        report.begin("reconcile")
        settlements.ask_ahead(start.settlements, subaccounts)
        if not request.dry_run:
            stored = ending.stored if ending.blocks == writer.blocks else None
            recorder.open_breaks = compare_with_table(
                exchange, store, intake.seen, tally, current_until, now, stored
            )
        report.counts.check()
        report.begin("settlements")
        recorder.settlements = settlements.run(start.settlements, current_until, subaccounts)
        report.begin("record")
        if not request.dry_run:
            close_claims(store, intake.seen, window)
        barren_tiers = tally.barren_tiers - intake.tiers_with_fills
        if request.accept_rejected:
            accept_refused(store, tally, barren_tiers)
        else:
            report_refused(tally, barren_tiers)
        if not request.dry_run:
            report.begin("replicas")
            down = wait_for_replicas(store.warehouse, store.tables)
            report.notes += sentences_of_down(down, store.tables)
        mark = next_watermark(window, start.watermark, current_until, tally.caps)
        mark, note = _cap_where_nothing_is_listed(mark, start.watermark, exchange, window, intake)
        report.note(note)
        report.watermark, recorder.table, note = _cap_where_table_changed(
            mark, start, store, request, report, window
        )
        report.note(note)
        if request.dry_run:
            report.would_be_watermark, report.watermark = report.watermark, start.watermark
        compared = Window(window.start, min(window.end, current_until))
        still_open = start.open_breaks if request.dry_run else start.open_breaks.outside(compared)
        _keep_open(still_open, recorder.open_breaks, report)
        report.open_breaks += len(tally.conflicts)
        report.status = "done"
        _measure(report, exchange, began)
        recorder.record(report, window, "done")
    except BaseException as error:
        report.status, report.watermark = "failed", start.watermark
        _measure(report, exchange, began)
        _abort(error, writer, recorder, report, window)
        raise
    finally:
        writer.close()
        report.log_stats()


def _start(
    store: FillStore,
    standing: Standing,
    request: SyncRequest,
    report: SyncReport,
    ledger_read_at: datetime,
) -> _Start:
    """Return what the pass begins with; a note says why the ledger's watermark does not count."""
    table = store.table_state(standing.fills_held)
    fills_held = 0 if standing.table_change(table) else standing.fills_held
    watermark, settlements = standing.watermark, standing.settlements
    if why := standing.why_from_the_start(table):
        reads = "this run reads" if request.since is None else "the next run without --since reads"
        report.note(f"From the account's first fill on: {why}; {reads} everything again.")
        watermark, settlements = None, SettlementsRead()
    open_breaks = read_open_breaks(standing.open_breaks)
    return _Start(ledger_read_at, watermark, table, fills_held, open_breaks, settlements)


def _current_until(exchange: Exchange, report: SyncReport, now: datetime) -> datetime:
    """Return the event time up to which the exchange's answers are complete."""
    as_of = exchange.as_of()
    moment, note = complete_until(as_of, now)
    report.note(note)
    assert moment is not None
    return moment


def _write_next_block(intake: Intake, writer: Writer, tally: Tally, subaccounts: set[int]) -> None:
    """Hand what was gathered to the writer, once the block before is written.

    The subaccounts of its fills are added to `subaccounts`.
    """
    tally.add(writer.collect())
    block = intake.next_block()
    subaccounts.update(int(number) for number in block.batch.subaccounts if number)
    writer.submit(block, frozenset(intake.tiers_with_fills))


def _cap_where_nothing_is_listed(
    mark: datetime | None,
    before: datetime | None,
    exchange: Exchange,
    window: Window,
    intake: Intake,
) -> Capped:
    """Return the watermark, which stays where nothing shows that the listing works."""
    if mark is None or not moves(mark, before):
        return Capped(mark)
    if LIVE in intake.tiers_with_items or exchange.has_any_fill(window):
        return Capped(mark)
    cutoff = exchange.cutoff() if HISTORICAL in intake.tiers_with_items else None
    return cap_at_archive(mark, before, cutoff)


def _cap_where_table_changed(
    mark: datetime | None,
    start: _Start,
    store: FillStore,
    request: SyncRequest,
    report: SyncReport,
    window: Window,
) -> TableProof:
    """Return the watermark, capped by what became of the table while the pass went.

    What a truncate removed meanwhile must be read again, whatever this pass has proven; the same
    is true where somebody replaced or emptied the table by hand.
    """
    unknown = TableState("", 0)
    changes = store.table_changes(start.ledger_read_at)
    if changes.entries:  # and which table is there now, its own entry says
        return TableProof(changes.cap(mark), unknown)
    if request.dry_run:
        return TableProof(mark, unknown)
    counts = report.counts
    least = expected = start.fills_held + counts.n_new
    if window.start is None:
        expected = max(expected, counts.n_inserted + counts.n_known)
    # Without other writers' rows, which takes a look, only where that may matter.
    table = store.table_state(expected if window.start is None else None)
    if window.start is not None and table.all_rows < start.table.all_rows:
        table = store.table_state(expected)
    return prove_table(mark, start.table, table, least, expected)


def _keep_open(earlier: OpenBreaks, found: OpenBreaks, report: SyncReport) -> None:
    """Add the breaks of earlier runs that this one did not look at to those that it found."""
    if len(earlier) and (since := earlier.since):
        report.note(
            f"Still open, found by earlier runs outside this run's window: {earlier.described()}. "
            f"After a repair, `kalshi-fills sync --since {since:%Y-%m-%dT%H:%M:%SZ}` compares that "
            "range again."
        )
    found.merge(earlier)
    report.open_breaks = len(found)
    report.open_since = found.since


def _measure(report: SyncReport, exchange: Exchange, began: float) -> None:
    report.elapsed_seconds = round(time.monotonic() - began, 3)
    report.requests = exchange.requests


def _abort(
    error: BaseException, writer: Writer, recorder: Recorder, report: SyncReport, window: Window
) -> None:
    """Wait for what is being written, and record that the run failed.

    Whoever interrupts it does not wait for a ClickHouse that has gone silent: without an entry of
    its end the run is one that died, which loses nothing.
    """
    asked_to_end = not isinstance(error, Exception)
    writer.abort(
        lambda: recorder.record_failure(report, window, error),
        _PATIENCE_SECONDS if asked_to_end else None,
    )
