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
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from kalshi_fills.errors import Interrupted, KalshiFillsError
from kalshi_fills.exchange.client import Exchange
from kalshi_fills.exchange.decode import HISTORICAL, LIVE, Page
from kalshi_fills.pipeline.content import content, contradictions, differences, key_hash
from kalshi_fills.pipeline.fills import EARLIEST_FILL, Fill, FillKey, Rejected
from kalshi_fills.pipeline.seen import Expected, Seen
from kalshi_fills.pipeline.stages import Counts, Refusals, sort_items
from kalshi_fills.pipeline.window import Window
from kalshi_fills.reconcile.breaks import Break
from kalshi_fills.reconcile.fills import compare
from kalshi_fills.sync.claims import closed_claims, read_claim
from kalshi_fills.sync.contested import Conflict, Contested, contested_fills, join, reports
from kalshi_fills.sync.open_breaks import OpenBreak, OpenBreaks, read_open_breaks
from kalshi_fills.sync.watermark import SyncRequest, choose_window
from kalshi_fills.warehouse.fills import FillStore, Written
from kalshi_fills.warehouse.replicas import sentences_of_down, wait_for_replicas
from kalshi_fills.warehouse.runs import Corrections, Run, Unfinished
from kalshi_fills.warehouse.standing import Account, Standing, TableState, require_same_account

log = logging.getLogger(__name__)


BLOCK_FILLS: Final = 20_000
"""Fills in one insert."""

MAX_BREAKS: Final = 10_000
"""Breaks that a pass names; the rest is left uncounted."""

_MAYBE_AT_WORK: Final = timedelta(hours=6)
"""A run that this host's lock does not tell of and that began longer ago is taken for dead."""

_DEAD_ELSEWHERE: Final = timedelta(hours=24)
"""A run of another host that began longer ago and never ended is taken for dead."""

_PATIENCE_SECONDS: Final = 5.0
"""How long a pass that is asked to end waits for ClickHouse."""

_GIVING_UP_SECONDS: Final = 0.5

_FILTERS_WIDER: Final = timedelta(seconds=2)
"""How much earlier than its window a pass may meet a fill."""

_LAG_WITHOUT_AS_OF: Final = timedelta(minutes=15)
"""How far the watermark stays behind where the exchange does not say how current it is."""

_LATE_AS_OF: Final = timedelta(hours=1)
"""An exchange whose data are current up to an earlier time than this ago is told of."""


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
    open_breaks: int = 0
    """Breaks that are open after the pass, those of earlier runs outside its window included."""
    open_since: datetime | None = None
    """The earliest event time of an open break."""
    notes: list[str] = field(default_factory=list)
    """What the operator has to know besides, as sentences."""
    refused_everything: bool = False
    """A tier sent items, and every one was refused, not all of them accepted by the operator."""
    made_up_ids: int = 0
    """Fills that came with neither `fill_id` nor `trade_id`."""
    conflicts: int = 0
    """Reports that contradict another report of the same fill, not accepted by the operator."""
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
        """Whether the operator must look: something may be missing, or both sides differ."""
        return (
            self.claims > 0 or self.refused_everything or self.made_up_ids > 0 or bool(self.breaks)
        )


Progress = Callable[[SyncReport], None]


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
    """Run one pass; the report tells what came of it.

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
    _Pass(exchange, store, request, report, account, now, clock, progress).run()


class _Refused(NamedTuple):
    """A refused item, and the tier it came from."""

    tier: str
    item: Rejected


class _Flushed(NamedTuple):
    """What became of one block."""

    written: list[Written]
    enriched: list[Written]
    """Fills of earlier blocks that came again and told more; counted as the duplicates they are."""
    conflicts: dict[str, Conflict]
    """Contradictions within what the exchange sent that were not accepted, by fingerprint."""
    claims: list[Rejected]
    """Refused items that claim to be fills and were not accepted."""
    barren: set[str]
    """Tiers without a fill so far that sent refused items which were not accepted."""


class _Pass:
    def __init__(
        self,
        exchange: Exchange,
        store: FillStore,
        request: SyncRequest,
        report: SyncReport,
        account: Account,
        now: datetime,
        clock: Callable[[], datetime],
        progress: Progress,
    ) -> None:
        self._exchange = exchange
        self._account = account
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
        self._rejected: list[_Refused] = []
        self._answering: set[str] = set()
        self._fruitful: set[str] = set()
        self._barren: set[str] = set()
        self._contested: dict[FillKey, Contested] = {}
        self._conflicts: dict[str, Conflict] = {}
        self._conflict_since: datetime | None = None
        self._earliest_claim: datetime | None = None
        self._claim_without_time = False
        self._began = time.monotonic()
        self._recorded_at: datetime | None = None
        self._ledger_read_at = now
        self._unproven_since: datetime | None = None
        self._table = TableState("", 0)
        self._held_before = 0
        self._left_table = TableState("", 0)
        self._open = OpenBreaks()

    def run(self) -> None:
        report, store = self._report, self._store
        self._step("ledger")
        self._ledger_read_at = store.latest_entry()  # first: what is written later is seen later
        standing = store.standing(self._account.key_digest)
        if not self._request.same_account:
            where = f"{store.tables.database}.{store.tables.fills}"
            require_same_account(standing.environment, self._account.environment, where)
        self._close_dead_runs()
        before = self._watermark_before(standing)
        self._window = report.window = choose_window(self._request, before, self._now)
        report.watermark = before
        self._record("running")
        try:
            self._step("fetch")
            self._exchange.learn_limits()
            self._contested = contested_fills(store.contradicted(), self._now)
            current_until = self._current_until()
            for page in self._exchange.fills(self._window):
                self._take(page)
            self._step("insert")
            self._release_contested()
            self._flush()
            self._settle()
            self._step("reconcile")
            if not self._request.dry_run:
                report.breaks += self._reconcile(current_until)
            report.counts.check()
            self._step("record")
            self._judge_refused()
            if not self._request.dry_run:
                self._step("replicas")
                down = wait_for_replicas(store.warehouse, store.tables)
                report.notes += sentences_of_down(down, store.tables)
            mark = self._watermark(before, current_until)
            report.watermark = self._unless_table_changed(self._unless_nothing_listed(mark, before))
            self._keep_open_breaks(read_open_breaks(standing.open_breaks), current_until)
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

    def _watermark_before(self, standing: Standing) -> datetime | None:
        """Return the watermark that counts for this run; a note says why the ledger's does not."""
        self._table = self._store.table_state(standing.fills_held)
        if not standing.table_change(self._table):
            self._held_before = standing.fills_held
        why = standing.why_from_the_start(self._table)
        if not why:
            return standing.watermark
        request = self._request
        reads = (
            "the next run without --since reads" if request.since is not None else "this run reads"
        )
        self._note(f"From the account's first fill on: {why}; {reads} everything again.")
        return None

    def _current_until(self) -> datetime:
        """Return the event time up to which the exchange's answers are complete."""
        told = self._exchange.as_of()
        if told is None:
            return self._now - _LAG_WITHOUT_AS_OF
        if self._now - told > _LATE_AS_OF:
            self._note(
                f"The exchange calls its data complete up to {told:%Y-%m-%dT%H:%M:%SZ} only, "
                f"{_hours(self._now - told)} behind the clock: what is newer may be incomplete, "
                "was not compared, and is read again by later runs."
            )
        return told

    def _unless_nothing_listed(
        self, mark: datetime | None, before: datetime | None
    ) -> datetime | None:
        """Return the watermark, which stays where nothing shows that the listing works."""
        moves = mark is not None and (before is None or mark > before)
        if not moves or LIVE in self._answering or self._exchange.has_any_fill(self._window):
            return mark
        assert mark is not None
        cutoff = self._exchange.cutoff() if HISTORICAL in self._answering else None
        if cutoff is not None and (before is None or cutoff > before):
            self._note(
                "The watermark goes no further than the archive does: the live listing had no item "
                "at all, and an account without recent fills looks like an exchange in maintenance."
            )
            return min(mark, cutoff.replace(microsecond=0))
        self._note(
            "The watermark stays: the exchange listed no item at all, and an account without fills "
            "looks like an exchange in maintenance."
        )
        return before

    def _unless_table_changed(self, mark: datetime | None) -> datetime | None:
        """Return the watermark, held by what became of the table while the pass went.

        What a truncate removed meanwhile must be read again, whatever this pass has proven; the
        same is true where somebody replaced or emptied the table by hand.
        """
        changes = self._store.table_changes(self._ledger_read_at)
        if changes.entries:
            return changes.cap(mark)  # and which table is there now, its own entry says
        if self._request.dry_run:
            return mark
        counts = self._report.counts
        at_least = held = self._held_before + counts.n_new
        if self._window.start is None:
            held = max(held, counts.n_inserted + counts.n_known)
        now = self._store.table_state(None)
        if self._window.start is None or now.all_rows < self._table.all_rows:
            now = self._store.table_state(held)  # without other writers' rows, which takes a look
        if now.identity == self._table.identity and now.rows >= at_least:
            self._left_table = TableState(now.identity, min(held, now.rows))
            return mark
        self._left_table = TableState(now.identity, 0)
        self._note(
            "No watermark: the table was replaced, or rows were removed, while this run was at "
            "work; the next run reads from the account's first fill on."
        )
        return None

    def _keep_open_breaks(self, earlier: OpenBreaks, current_until: datetime) -> None:
        """Add what earlier runs found and this one did not look at to the breaks it found."""
        report = self._report
        if not self._request.dry_run:
            end = min(self._window.end, current_until)
            earlier = earlier.outside(self._window._replace(end=end))
        if len(earlier) and (since := earlier.since):
            self._note(
                f"Still open, found by earlier runs outside this run's window: "
                f"{earlier.described()}. After a repair, `kalshi-fills sync --since "
                f"{since:%Y-%m-%dT%H:%M:%SZ}` compares that range again."
            )
        self._open.merge(earlier)
        report.open_breaks = len(self._open) + len(self._conflicts)
        report.open_since = self._open.since

    def _note(self, sentence: str) -> None:
        self._report.notes.append(sentence)
        log.warning("sync_note", extra={"fields": {"note": sentence}})

    def _step(self, name: str) -> None:
        self._report.stage = name
        log.debug("sync_step", extra={"fields": {"step": name, "run_id": self._report.run_id}})

    def _take(self, page: Page) -> None:
        report = self._report
        kept, rejected = sort_items(page.items, page.tier, self._now, report.counts)
        for refusal in rejected:
            report.refusals.add(refusal)
            self._rejected.append(_Refused(page.tier, refusal))
        if page.items:
            self._answering.add(page.tier)
        if kept:
            self._fruitful.add(page.tier)
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
            self._report.made_up_ids += fill.id_synthetic
        else:
            self._report.counts.n_duplicate += 1
            if before == sent:  # word for word
                return
        if self._contested and key in self._contested:
            self._contested[key].sent.append(fill)
        elif before is None:
            self._block[key] = fill
        else:
            # In other words it may be an archived row that lacks the newer fields, or a
            # contradiction: looked at with the block.
            self._again.append(fill)

    def _release_contested(self) -> None:
        """Put every report of the fills known to be sent with two contents into one block.

        Where only the content came that is not stored, it is the only one left, unless the stored
        one has an event time that this pass did not ask for.
        """
        sent = {key: one.sent for key, one in self._contested.items() if one.sent}
        if not sent:
            return
        self._settle()
        beaten = [key for key in sent if self._contested[key].all_known()]
        stored = reports(self._store.payloads(beaten), self._now)
        for key, fills in sent.items():
            elsewhere = stored.get(key)
            if elsewhere is not None and not self._window.holds(elsewhere.executed_at):
                fills = [elsewhere, *fills]
            self._block[key] = fills[0]
            self._again += fills[1:]

    def _flush(self) -> None:
        """Hand what was gathered to the writer, and go on fetching while it writes."""
        self._settle()
        block, self._block = self._block, {}
        again, self._again = self._again, []
        rejected, self._rejected = self._rejected, []
        if block or again or rejected:
            fruitful = frozenset(self._fruitful)
            self._writing = self._writer.submit(self._write, block, again, rejected, fruitful)

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
            self._expect_instead(written)
            self._report.corrections.add(written.fill, written.differences)
        self._barren |= flushed.barren
        for fingerprint, conflict in flushed.conflicts.items():
            self._report.conflicts += fingerprint not in self._conflicts
            if len(self._conflicts) < MAX_BREAKS:
                self._conflicts[fingerprint] = conflict
            self._conflict_since = min(conflict.moment, self._conflict_since or conflict.moment)
        for item in flushed.claims:
            self._report.claims += 1
            # A time outside the window it was listed in says nothing of where it will be found.
            if item.executed_at is None or not self._window_since_opening().holds(item.executed_at):
                self._claim_without_time = True
            elif self._earliest_claim is None or item.executed_at < self._earliest_claim:
                self._earliest_claim = item.executed_at

    def _expect_instead(self, written: Written) -> None:
        """Expect what a fill of an earlier block has become, at the time it has now."""
        if written.before is None or written.time_before is None:  # its row is gone: a break
            return
        if self._window.holds(written.time_before):
            self._expected.remove(written.time_before, written.before)
        if self._window.holds(written.fill.executed_at):
            self._expected.add(written.fill.executed_at, written.digest)

    def _write(
        self,
        block: dict[FillKey, Fill],
        again: list[Fill],
        rejected: list[_Refused],
        fruitful: frozenset[str],
    ) -> _Flushed:
        """Write one block; runs in the writer's thread, which alone uses the store meanwhile.

        A fill met again with other content never replaces the first by coming last: the one that
        knows more is taken, and where two contradict each other the other one is a break.
        """
        conflicts: list[Conflict] = []
        earlier: list[Fill] = []
        for fill in again:
            if fill.key in block:
                block[fill.key] = _joined(block[fill.key], fill, conflicts)
            else:
                earlier.append(fill)
        written = self._store.write(block) if block else []
        richer = self._richer(earlier, conflicts)
        enriched = self._store.write(richer, met_before=True) if richer else []
        refused = [(conflict.refused(), conflict) for conflict in conflicts]
        kept = [item for _, item in rejected] + [item for item, _ in refused]
        if not kept:
            return _Flushed(written, enriched, {}, [], set())
        self._store.quarantine(kept, self._now)
        # What claims nothing costs an exit code only where a tier sends nothing else.
        telling = [one for one in rejected if one.item.claims_fill or one.tier not in fruitful]
        asked = [one.item for one in telling] + [item for item, _ in refused]
        accepted = self._store.accepted(asked)
        left = [one for one in telling if one.item.fingerprint not in accepted]
        return _Flushed(
            written,
            enriched,
            {item.fingerprint: one for item, one in refused if item.fingerprint not in accepted},
            [one.item for one in left if one.item.claims_fill],
            {one.tier for one in left},
        )

    def _richer(self, earlier: list[Fill], conflicts: list[Conflict]) -> dict[FillKey, Fill]:
        """Return what fills of earlier blocks, met again in other words, have to become."""
        held = self._store.whole({fill.key for fill in earlier})  # a dry run stored nothing
        found = [fill for fill in earlier if fill.key in held]
        contested = {
            fill.key for fill in found if contradictions(held[fill.key].content, content(fill))
        }
        # A stored row may be completed from several reports; two reports are held against another.
        best = reports(self._store.payloads(contested), self._now)
        richer: dict[FillKey, Fill] = {}
        for fill in found:
            key, stored = fill.key, held[fill.key].content
            first = richer.get(key) or (best.get(key) if key in contested else None)
            if first is not None:
                richer[key] = _joined(first, fill, conflicts)
            elif key in contested:  # an engine's own row, whose payload tells nothing
                conflicts.append(Conflict(stored, fill))
            elif differences(stored, content(fill)):
                richer[key] = fill
        return richer

    def _judge_refused(self) -> None:
        """Accept what was refused, where that was asked for; else note what it holds back."""
        report = self._report
        self._close_claims()
        barren = self._barren - self._fruitful
        if self._request.accept_rejected:
            self._store.accept_rejected(all_of_this_run=bool(barren))
            report.claims, self._earliest_claim, self._claim_without_time = 0, None, False
            report.conflicts = 0
            return
        report.refused_everything = bool(barren)
        if barren:
            self._claim_without_time = True
        report.more_breaks = report.more_breaks or report.conflicts > len(self._conflicts)
        for conflict in self._conflicts.values():
            report.breaks += conflict.breaks()
        if self._conflict_since is not None:
            self._hold_at(self._conflict_since)

    def _close_claims(self) -> None:
        """Accept the claims of earlier passes whose fills this one met: nothing of them lacks."""
        if self._request.dry_run or not len(self._seen):
            return
        since = (self._window.start or EARLIEST_FILL) - _FILTERS_WIDER
        for page in self._store.open_claims():
            self._store.close_claims(
                closed_claims(
                    [read_claim(fingerprint, text) for fingerprint, text in page],
                    met=lambda key: key_hash(key) in self._seen,
                    keys_of=lambda ids: self._store.keys_of(ids, since),
                )
            )

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
            fill = asked.get(one.key)
            if fill is not None and self._is_stray(one, fill) and len(strays) < BLOCK_FILLS:
                strays[fill.key] = fill
            if len(breaks) < MAX_BREAKS:
                breaks.append(one)
            else:
                self._report.more_breaks = True
            self._open.add(_open_break(one, since))
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
        return None if mark is None else max(mark, EARLIEST_FILL)

    def _close_dead_runs(self) -> None:
        for run in self._store.unfinished():
            if not self._is_dead(run):
                self._tell_of(run)
                continue
            log.warning(
                "run_found_dead",
                extra={"fields": {"run_id": run.run_id, "started_at": run.started_at.isoformat()}},
            )
            self._recorded_at = run.recorded_at
            self._store.record(_dead(run, self._clock()), self._ledger_time())
        self._recorded_at = None

    def _is_dead(self, run: Unfinished) -> bool:
        if run.host != socket.gethostname():
            return self._now - run.started_at >= _DEAD_ELSEWHERE
        # In a container every run may have the same id; this one is not in the ledger yet. One with
        # a lock folder of its own may be alive; of an old one the id is another's by now.
        return run.pid == os.getpid() or not _alive(run.pid) or not self._may_be_at_work(run)

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
                self._account.environment,
                self._account.key_digest,
                self._left_table.identity,
                self._left_table.rows,
                report.open_breaks,
                self._open.as_json(),
                tuple(report.notes),
            ),
            self._ledger_time(),
        )

    def _ledger_time(self) -> datetime:
        """Return the clock, but later than every entry there is: the latest entry counts.

        Without that the entries of a host whose clock runs ahead would hide those of the others.
        """
        moment = max(self._clock(), self._store.latest_entry() + timedelta(microseconds=1))
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
                    "open_breaks": report.open_breaks,
                    "notes": len(report.notes),
                    "claims_refused": report.claims,
                    "refused_everything": report.refused_everything,
                    "made_up_ids": report.made_up_ids,
                    "conflicts": report.conflicts,
                    "watermark": report.watermark.isoformat() if report.watermark else None,
                    "pages": report.pages,
                    "requests": report.requests,
                    "elapsed_seconds": report.elapsed_seconds,
                }
            },
        )


def _joined(one: Fill, other: Fill, conflicts: list[Conflict]) -> Fill:
    joined, conflict = join(one, other)
    if conflict is not None:
        conflicts.append(conflict)
    return joined


def _open_break(found: Break, since: datetime) -> OpenBreak:
    """Return a break as the ledger keeps it, with the fill's time or else that of its hour."""
    at = found.executed_at or since
    return OpenBreak(found.kind, found.fill_id or "", found.order_id or "", at)


def _hours(age: timedelta) -> str:
    return f"{age / timedelta(hours=1):,.1f} hours"


def _alive(pid: int) -> bool:
    if pid <= 0:  # to signal these would reach a whole group of processes
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
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
