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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from kalshi_fills.errors import KalshiFillsError
from kalshi_fills.exchange import Exchange, Page, Window
from kalshi_fills.fills import Fill, FillKey, Rejected
from kalshi_fills.pipeline import (
    Counts,
    Expected,
    Refusals,
    Seen,
    content,
    contradictions,
    digest,
    key_hash,
    prefer,
    sort_items,
)
from kalshi_fills.reconcile import Break, compare
from kalshi_fills.store import Corrections, FillStore, Run, Unfinished

log = logging.getLogger(__name__)

BLOCK_FILLS: Final = 20_000
"""Fills in one insert."""

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
    claims: int = 0
    """Refused items that claim to be fills and were not accepted by the operator."""
    pages: int = 0
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
        self._seen = Seen()
        self._expected = Expected()
        self._rejected: list[Rejected] = []
        self._conflicts: list[Break] = []
        self._earliest_claim: datetime | None = None
        self._claim_without_time = False
        self._began = time.monotonic()

    def run(self) -> None:
        report, store = self._report, self._store
        self._step("ledger")
        self._close_dead_runs()
        before = store.last_watermark()
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
            self._step("reconcile")
            if not self._request.dry_run:
                report.breaks += self._reconcile(current_until)
            report.breaks += self._conflicts
            report.counts.check()
            self._step("record")
            if self._request.accept_rejected:
                store.accept_rejected()
                report.claims, self._earliest_claim, self._claim_without_time = 0, None, False
            report.watermark = self._watermark(before, current_until)
            report.status = "done"
            self._measure()
            self._record("done")
        except BaseException as error:
            report.status = "failed"
            self._measure()
            self._fail(error)
            raise
        finally:
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
        if len(self._block) >= BLOCK_FILLS or len(self._rejected) >= BLOCK_FILLS:
            self._flush()
        report.requests = self._exchange.requests
        self._progress(report)

    def _take_fill(self, fill: Fill) -> None:
        key = fill.key
        sent = digest(content(fill))
        before = self._seen.put(key_hash(key), sent)
        if before is None:
            self._block[key] = fill
        elif before == sent & 0xFFFFFFFF:
            self._report.counts.n_duplicate += 1
        else:
            self._take_again(key, fill)

    def _take_again(self, key: FillKey, fill: Fill) -> None:
        """Take a fill that this pass has met before, with other content.

        It may be an archived row that lacks the newer fields. A contradiction is reported as a
        break, and never settled by who came last.
        """
        self._report.counts.n_duplicate += 1
        if key in self._block:
            first = self._block[key]
            self._block[key] = prefer(first, fill)
            other = fill if self._block[key] is first else first
            held = content(self._block[key])
        else:
            other = fill
            stored = self._store.whole([key]).get(key)
            if stored is None:  # a dry run stored nothing to compare with
                return
            held = stored.content
        for found in contradictions(held, content(other)):
            self._conflicts.append(
                Break(
                    "mismatch",
                    "fill",
                    key.fill_id,
                    key.order_id,
                    fill.ticker,
                    found.field,
                    found.sent,
                    found.stored,
                )
            )

    def _flush(self) -> None:
        self._flush_fills()
        if self._rejected:
            rejected, self._rejected = self._rejected, []
            self._store.quarantine(rejected, self._now)
            self._weigh_claims([item for item in rejected if item.claims_fill])

    def _flush_fills(self) -> None:
        if not self._block:
            return
        block, self._block = self._block, {}
        counts = self._report.counts
        for written in self._store.write(block):
            if written.before is None:
                counts.n_new += 1
            elif written.differences:
                counts.n_corrected += 1
                self._report.corrections.add(written.fill, written.differences)
            else:
                counts.n_known += 1
            if self._window.holds(written.fill.executed_at):
                self._expected.add(written.fill.executed_at, written.digest)

    def _weigh_claims(self, claiming: list[Rejected]) -> None:
        accepted = self._store.accepted(claiming)
        for item in claiming:
            if item.fingerprint in accepted:
                continue
            self._report.claims += 1
            if item.executed_at is None:
                self._claim_without_time = True
            elif self._earliest_claim is None or item.executed_at < self._earliest_claim:
                self._earliest_claim = item.executed_at

    def _reconcile(self, current_until: datetime) -> list[Break]:
        def ask_again(stretch: Window) -> Iterator[Fill]:
            for page in self._exchange.fills(stretch):
                yield from sort_items(page.items, page.tier, self._now, Counts()).fills

        return compare(
            self._expected.hours,
            self._store,
            self._window,
            ask_again,
            known_to_pass=lambda key: key_hash(key) in self._seen,
            current_until=current_until,
        )

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
        if self._earliest_claim is not None and mark is not None:
            mark = min(mark, self._earliest_claim.replace(microsecond=0))
        return mark

    def _close_dead_runs(self) -> None:
        for run in self._store.unfinished(socket.gethostname()):
            if run.pid == os.getpid() or _alive(run.pid):
                continue
            log.warning(
                "run_found_dead",
                extra={"fields": {"run_id": run.run_id, "started_at": run.started_at.isoformat()}},
            )
            self._store.record(_dead(run, self._clock()), self._clock())

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
            self._clock(),
        )

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
        return Window(request.since, end)
    if request.full or watermark is None:
        return Window(None, end)
    return Window(watermark - request.overlap, end)


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
        socket.gethostname(),
        run.pid,
        "the process ended without saying how; a later run closed its entry",
    )
