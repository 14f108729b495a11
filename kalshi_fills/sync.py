"""One bounded pass: the window's fills from the exchange into the table, each exactly once.

    window -> fetch -> stages -> write -> reconcile -> record

The order is the promise: the run's row and its watermark are written last, so that a pass that
dies leaves rows and no claim, and the next one reads the same range again. Re-running is always
safe. The pass fills a `SyncReport` as it goes, which a failed pass leaves behind as far as it got.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from kalshi_fills.errors import Interrupted, KalshiFillsError, SettingsError
from kalshi_fills.exchange import Exchange
from kalshi_fills.fills import EARLIEST_FILL, Fill, FillKey, Rejected
from kalshi_fills.listing import Page, Window
from kalshi_fills.pipeline import (
    Counts,
    Expected,
    Refusals,
    Seen,
    content,
    contradictions,
    differences,
    key_hash,
    prefer,
    sort_items,
)
from kalshi_fills.reconcile import Break, compare
from kalshi_fills.store import Corrections, FillStore, Run, Unfinished, Written

log = logging.getLogger(__name__)

BLOCK_FILLS: Final = 20_000
"""Fills in one insert."""

MAX_BREAKS: Final = 10_000
"""Breaks that a pass names; the rest is left uncounted."""

_MAYBE_AT_WORK: Final = timedelta(hours=6)
"""A run that this host's lock does not tell of and that began longer ago is taken for dead."""

_PATIENCE_SECONDS: Final = 5.0
"""How long a pass that is asked to end waits for ClickHouse."""
_GIVING_UP_SECONDS: Final = 0.5

_LAG_WITHOUT_AS_OF: Final = timedelta(minutes=15)
"""How far the watermark stays behind where the exchange does not say how current it is."""


class SyncRequest(NamedTuple):
    """What the operator asked this pass to do."""

    since: datetime | None = None
    until: datetime | None = None
    full: bool = False
    overlap: timedelta = timedelta(hours=1)
    accept_rejected: bool = False
    dry_run: bool = False


@dataclass(slots=True)
class SyncReport:
    """What a pass did, complete once `status` is done."""

    run_id: UUID
    dry_run: bool = False
    status: str = "running"
    window: Window | None = None
    watermark: datetime | None = None
    counts: Counts = field(default_factory=Counts)
    refusals: Refusals = field(default_factory=Refusals)
    corrections: Corrections = field(default_factory=Corrections)
    breaks: list[Break] = field(default_factory=list)
    more_breaks: bool = False
    """There are more breaks than were named."""
    claims: int = 0
    """Refused items that claim to be fills and were not accepted by the operator."""
    other_hosts: list[str] = field(default_factory=list)
    """Hosts of runs that may have been at work on the same table when this one began."""
    pages: int = 0
    share_read: float | None = None
    """Which share of the window's time has been read; None where that is not known yet."""
    requests: int = 0
    elapsed_seconds: float = 0.0
    stage: str = "start"
    """What the pass was at: names the step that failed."""

    @property
    def has_findings(self) -> bool:
        """Whether the operator must look: a claim refused, or a break."""
        return self.claims > 0 or bool(self.breaks)


Progress = Callable[[SyncReport], None]


def sync(
    exchange: Exchange,
    store: FillStore,
    request: SyncRequest,
    report: SyncReport,
    *,
    now: datetime,
    clock: Callable[[], datetime],
    progress: Progress = lambda _: None,
) -> None:
    """Run one pass; the report tells what came of it.

    Args:
        exchange: the account.
        store: the tables, whose schema was found to be today's.
        request: what was asked for.
        report: filled in as the pass goes.
        now: when the pass began, aware UTC; the window's end by default.
        clock: the time of ledger entries.
        progress: called after every page.

    Raises:
        KalshiFillsError: the pass failed; the run is recorded as failed and the watermark stays.
    """
    _Pass(exchange, store, request, report, now, clock, progress).run()


class _Flushed(NamedTuple):
    """What became of one block."""

    written: list[Written]
    enriched: list[Written]
    """Fills of earlier blocks that came again and told more; counted as the duplicates they are."""
    conflicts: list[tuple[Break, datetime]]
    """Contradictions within what the exchange sent, each with the fill's time."""
    claims: list[Rejected]
    """Refused items that claim to be fills and were not accepted."""


class _Pass:
    def __init__(
        self,
        exchange: Exchange,
        store: FillStore,
        request: SyncRequest,
        report: SyncReport,
        now: datetime,
        clock: Callable[[], datetime],
        progress: Progress,
    ) -> None:
        self._exchange = exchange
        self._store = store
        self._request = request
        self._report = report
        self._now = now
        self._clock = clock
        self._progress = progress
        self._window = Window(None, now)
        self._block: dict[FillKey, Fill] = {}
        self._again: list[Fill] = []
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._writing: Future[_Flushed] | None = None
        self._seen = Seen()
        self._expected = Expected()
        self._rejected: list[Rejected] = []
        self._conflicts: list[Break] = []
        self._earliest_claim: datetime | None = None
        self._claim_without_time = False
        self._began = time.monotonic()
        self._recorded_at: datetime | None = None
        self._ledger_read_at = now
        self._unproven_since: datetime | None = None

    def run(self) -> None:
        report, store = self._report, self._store
        self._step("ledger")
        self._close_dead_runs()
        before = store.last_watermark()
        self._ledger_read_at = store.latest_entry()
        self._window = report.window = _window(self._request, before, self._now)
        report.watermark = before
        self._record("running")
        try:
            self._step("fetch")
            self._exchange.learn_limits()
            current_until = self._exchange.as_of() or self._now - _LAG_WITHOUT_AS_OF
            for page in self._exchange.fills(self._window):
                self._take(page)
            self._step("insert")
            self._flush()
            self._settle()
            self._step("reconcile")
            if not self._request.dry_run:
                report.breaks += self._reconcile(current_until)
            report.breaks += self._conflicts
            report.counts.check()
            self._step("record")
            if self._request.accept_rejected:
                store.accept_rejected()
                report.claims, self._earliest_claim, self._claim_without_time = 0, None, False
            # What a truncate removed meanwhile must be read again, whatever this pass has proven.
            mark = self._watermark(before, current_until)
            report.watermark = store.held_by_rewinds(mark, self._ledger_read_at)
            report.status = "done"
            self._measure()
            self._record("done")
        except BaseException as error:
            report.status, report.watermark = "failed", before
            self._measure()
            self._leave(error)
            raise
        finally:
            self._writer.shutdown()
            self._log_stats()

    def _step(self, name: str) -> None:
        self._report.stage = name
        log.debug("sync_step", extra={"fields": {"step": name, "run_id": self._report.run_id}})

    def _take(self, page: Page) -> None:
        report = self._report
        kept, rejected = sort_items(page.items, page.tier, self._now, report.counts)
        for refusal in rejected:
            report.refusals.add(refusal)
        self._rejected += rejected
        for fill in kept:
            self._take_fill(fill)
        report.pages += 1
        if page.share is not None:
            report.share_read = max(page.share, report.share_read or 0.0)
        if max(len(self._block), len(self._rejected), len(self._again)) >= BLOCK_FILLS:
            self._flush()
        report.requests = self._exchange.requests
        self._progress(report)

    def _take_fill(self, fill: Fill) -> None:
        key = fill.key
        sent = hash(fill.raw_json) & 0xFFFFFFFF
        before = self._seen.put(key_hash(key), sent)
        if before is None:
            self._block[key] = fill
            return
        # Met before in this pass. Word for word it is a repeat; in other words it may be an
        # archived row that lacks the newer fields, or a contradiction: looked at with the block.
        self._report.counts.n_duplicate += 1
        if before != sent:
            self._again.append(fill)

    def _flush(self) -> None:
        """Hand what was gathered to the writer, and go on fetching while it writes."""
        self._settle()
        block, self._block = self._block, {}
        again, self._again = self._again, []
        rejected, self._rejected = self._rejected, []
        if block or again or rejected:
            self._writing = self._writer.submit(self._write, block, again, rejected)

    def _settle(self) -> None:
        """Wait for the writer, and count what became of its block."""
        if self._writing is None:
            return
        writing, self._writing = self._writing, None
        flushed = writing.result()
        counts = self._report.counts
        for written in flushed.written:
            if written.before is None:
                counts.n_new += 1
            elif written.differences:
                counts.n_corrected += 1
                self._report.corrections.add(written.fill, written.differences)
            else:
                counts.n_known += 1
            if self._window.holds(written.fill.executed_at):
                self._expected.add(written.fill.executed_at, written.digest)
        for written in flushed.enriched:
            if written.before is not None and self._window.holds(written.fill.executed_at):
                moment, before = written.fill.executed_at, written.before
                self._expected.replace(moment, before, written.digest)
            self._report.corrections.add(written.fill, written.differences)
        for conflict, moment in flushed.conflicts:
            self._conflicts.append(conflict)
            self._hold_at(moment)
        for item in flushed.claims:
            self._report.claims += 1
            # A time outside the window it was listed in says nothing of where it will be found.
            if item.executed_at is None or not self._window_since_opening().holds(item.executed_at):
                self._claim_without_time = True
            elif self._earliest_claim is None or item.executed_at < self._earliest_claim:
                self._earliest_claim = item.executed_at

    def _write(
        self, block: dict[FillKey, Fill], again: list[Fill], rejected: list[Rejected]
    ) -> _Flushed:
        """Write one block; runs in the writer's thread, which alone uses the store meanwhile.

        A fill met again with other content never replaces the first by coming last: within a block
        the one that knows more is taken, and where two contradict each other that is a break.
        """
        conflicts: list[tuple[Break, datetime]] = []
        earlier: list[Fill] = []
        for fill in again:
            first = block.get(fill.key)
            if first is None:
                earlier.append(fill)
                continue
            chosen = block[fill.key] = prefer(first, fill)
            other = fill if chosen is first else first
            conflicts += _conflicts(content(chosen), other)
        written = self._store.write(block) if block else []
        held = self._store.whole({fill.key for fill in earlier})
        richer: dict[FillKey, Fill] = {}
        for fill in earlier:
            stored = held.get(fill.key)  # a dry run stored nothing to compare with
            if stored is None:
                continue
            found = _conflicts(stored.content, fill)
            conflicts += found
            if not found and differences(stored.content, content(fill)):
                richer[fill.key] = fill
        enriched = self._store.write(richer) if richer else []
        claims: list[Rejected] = []
        if rejected:
            self._store.quarantine(rejected, self._now)
            claiming = [item for item in rejected if item.claims_fill]
            accepted = self._store.accepted(claiming)
            claims = [item for item in claiming if item.fingerprint not in accepted]
        return _Flushed(written, enriched, conflicts, claims)

    def _window_since_opening(self) -> Window:
        return self._window._replace(start=max(self._window.start or EARLIEST_FILL, EARLIEST_FILL))

    def _reconcile(self, current_until: datetime) -> list[Break]:
        breaks, strays = self._compare(current_until)
        if strays:
            for written in self._store.write(strays, everywhere=True):
                self._report.corrections.add(written.fill, written.differences)
            self._report.more_breaks = False
            breaks, _ = self._compare(current_until)
        return breaks

    def _compare(self, current_until: datetime) -> tuple[list[Break], dict[FillKey, Fill]]:
        """Return the breaks, and fills that stand in the table twice: under another ticker, too.

        Such a row was written after the fill's own, or a pass would have found it there.
        """
        asked: dict[FillKey, Fill] = {}

        def ask_again(stretch: Window) -> Iterator[Fill]:
            asked.clear()
            for page in self._exchange.fills(stretch):
                for fill in sort_items(page.items, page.tier, self._now, Counts()).fills:
                    asked[fill.key] = fill
                    yield fill

        found = compare(
            self._expected.hours,
            self._store,
            self._window,
            ask_again,
            known_to_pass=lambda key: key_hash(key) in self._seen,
            current_until=current_until,
        )
        breaks: list[Break] = []
        strays: dict[FillKey, Fill] = {}
        for one, since in found:  # to the end: what is not named holds the watermark all the same
            fill = asked.get(FillKey(one.fill_id or "", one.order_id or ""))
            if fill is not None and self._is_stray(one, fill) and len(strays) < BLOCK_FILLS:
                strays[fill.key] = fill
            if len(breaks) < MAX_BREAKS:
                breaks.append(one)
            else:
                self._report.more_breaks = True
            if one.kind != "unexpected":
                self._hold_at(since)
        return breaks, strays

    def _is_stray(self, one: Break, fill: Fill) -> bool:
        return (
            one.kind == "unexpected"
            and one.market_ticker != fill.ticker
            and key_hash(fill.key) in self._seen
            and self._window.holds(fill.executed_at)
        )

    def _hold_at(self, moment: datetime) -> None:
        """Keep the watermark from passing a time from which on the table is not proven right."""
        if self._unproven_since is None or moment < self._unproven_since:
            self._unproven_since = moment

    def _watermark(self, before: datetime | None, current_until: datetime) -> datetime | None:
        """Where the next window starts (less the overlap), by the rules of this pass."""
        reaches_back = self._window.start is None or (
            before is not None and self._window.start <= before
        )
        mark = before
        if reaches_back and not self._claim_without_time:
            mark = min(self._window.end, current_until).replace(microsecond=0)
            if before is not None:
                mark = max(mark, before)  # an old range read again takes nothing back
        if mark is not None and self._unproven_since is not None:
            mark = min(mark, self._unproven_since.replace(microsecond=0))
        if mark is not None and self._earliest_claim is not None:
            mark = min(mark, self._earliest_claim.replace(microsecond=0))
        return mark

    def _close_dead_runs(self) -> None:
        for run in self._store.unfinished():
            if run.host != socket.gethostname():
                self._tell_of(run)
                continue
            # In a container every run may have the same id; this one is not in the ledger yet.
            if run.pid != os.getpid() and _alive(run.pid) and self._may_be_at_work(run):
                self._tell_of(run)  # with a lock folder of its own, or its id is another's by now
                continue
            log.warning(
                "run_found_dead",
                extra={"fields": {"run_id": run.run_id, "started_at": run.started_at.isoformat()}},
            )
            self._recorded_at = run.recorded_at
            self._store.record(_dead(run, self._clock()), self._ledger_time())
        self._recorded_at = None

    def _may_be_at_work(self, run: Unfinished) -> bool:
        return self._now - run.started_at < _MAYBE_AT_WORK

    def _tell_of(self, run: Unfinished) -> None:
        """Say that another run may be at work; the table stays right whatever it does."""
        if self._may_be_at_work(run):
            self._report.other_hosts.append(run.host)
            log.warning(
                "another_run_at_work",
                extra={
                    "fields": {
                        "host": run.host,
                        "process": run.pid,
                        "run_id": run.run_id,
                        "started_at": run.started_at.isoformat(),
                    }
                },
            )

    def _record(self, status: str, error: str = "") -> None:
        report = self._report
        finished = None if status == "running" else self._clock()
        self._store.record(
            Run(
                report.run_id,
                status,
                self._now,
                finished,
                self._window.start,
                self._window.end,
                report.watermark if status == "done" else None,
                report.counts,
                socket.gethostname(),
                os.getpid(),
                error,
                report.corrections.as_json(),
            ),
            self._ledger_time(),
        )

    def _ledger_time(self) -> datetime:
        """The clock, but later than the run's entry before: the latest entry counts."""
        moment = self._clock()
        if self._recorded_at is not None:
            moment = max(moment, self._recorded_at + timedelta(microseconds=1))
        self._recorded_at = moment
        return moment

    def _leave(self, error: BaseException) -> None:
        """Let what is being written end, and say in the ledger how the run did.

        Whoever interrupts it does not wait for a ClickHouse that has gone silent: without an entry
        of its end the run is one that died, which loses nothing.
        """
        asked_to_end = isinstance(error, Interrupted) or not isinstance(error, Exception)
        patience = _PATIENCE_SECONDS if asked_to_end else None
        leaving = self._writer.submit(self._fail, error)  # behind what is being written
        while not leaving.done():
            try:
                wait([leaving], patience)
            finally:  # interrupted once more, too
                if not leaving.done():
                    self._store.give_up()
                    patience = _GIVING_UP_SECONDS
        leaving.result()

    def _fail(self, error: BaseException) -> None:
        sentence = (
            error.message if isinstance(error, KalshiFillsError) else f"{type(error).__name__}"
        )
        # The ledger may be what failed; the first error is the one to tell.
        with contextlib.suppress(KalshiFillsError):
            self._record("failed", f"{self._report.stage}: {sentence}")

    def _measure(self) -> None:
        self._report.elapsed_seconds = round(time.monotonic() - self._began, 3)
        self._report.requests = self._exchange.requests

    def _log_stats(self) -> None:
        report = self._report
        log.info(
            "fill_pipeline_stats",
            extra={
                "fields": {
                    "run_id": str(report.run_id),
                    **report.counts.as_dict(),
                    **report.counts.rates(),
                    "status": report.status,
                    "dry_run": report.dry_run,
                    "breaks": len(report.breaks),
                    "claims_refused": report.claims,
                    "watermark": report.watermark.isoformat() if report.watermark else None,
                    "pages": report.pages,
                    "requests": report.requests,
                    "elapsed_seconds": report.elapsed_seconds,
                }
            },
        )


def _window(request: SyncRequest, watermark: datetime | None, now: datetime) -> Window:
    end = request.until or now
    if request.since is not None:
        return _ordered(max(request.since, EARLIEST_FILL), end)
    if request.full or watermark is None:
        return Window(None, end)
    # An overlap may reach back beyond the calendar; no fill does.
    overlap = min(request.overlap, watermark - EARLIEST_FILL)
    start = watermark - overlap
    if request.until is None and start >= end:  # our clock was set back behind the watermark
        start = end - max(overlap, timedelta(seconds=1))
    return _ordered(start, end)


def _ordered(start: datetime, end: datetime) -> Window:
    if start >= end:
        raise SettingsError(
            f"--until lies before {start:%Y-%m-%dT%H:%M:%SZ}, where this run would start",
            hint="give --since, too, to read a range of the past again",
        )
    return Window(start, end)


def _conflicts(held: Sequence[str], fill: Fill) -> list[tuple[Break, datetime]]:
    return [
        (
            Break(
                "mismatch",
                "fill",
                fill.fill_id,
                fill.order_id,
                fill.ticker,
                found.field,
                found.sent,
                found.stored,
            ),
            fill.executed_at,
        )
        for found in contradictions(held, content(fill))
    ]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _dead(run: Unfinished, now: datetime) -> Run:
    return Run(
        run.run_id,
        "failed",
        run.started_at,
        now,
        run.window_start,
        run.window_end,
        None,
        Counts(),
        run.host,
        run.pid,
        "the process ended without saying how; a later run closed its entry",
    )
