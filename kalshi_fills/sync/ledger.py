"""The entries that a sync makes in the ledger of runs, and those of runs that died."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from kalshi_fills.errors import Interrupted, KalshiFillsError
from kalshi_fills.pipeline.stages import Counts
from kalshi_fills.sync.open_breaks import OpenBreaks
from kalshi_fills.warehouse.runs import Run, Unfinished
from kalshi_fills.warehouse.standing import Account, SettlementsRead, TableState

if TYPE_CHECKING:
    from kalshi_fills.pipeline.window import Window
    from kalshi_fills.sync.report import SyncReport
    from kalshi_fills.warehouse.store import FillStore

log = logging.getLogger(__name__)

MAY_BE_AT_WORK: Final = timedelta(hours=6)
"""A run of this host, not under this host's lock, that began longer ago is taken for dead."""

DEAD_ELSEWHERE: Final = timedelta(hours=24)
"""A run of another host that began longer ago and never ended is taken for dead."""

_TICK: Final = timedelta(microseconds=1)


class Recorder:
    """Writes the entries of one run; each is later than every entry there is."""

    def __init__(
        self,
        store: FillStore,
        account: Account,
        started_at: datetime,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._account = account
        self._started_at = started_at
        self._clock = clock
        self._recorded_at: datetime | None = None
        self.table = TableState("", 0)
        """What the entry keeps of the fills table."""
        self.open_breaks = OpenBreaks()
        """What the entry keeps of the breaks that are open."""
        self.settlements = SettlementsRead()
        """How far the entry says that settlements are stored."""

    def record(self, report: SyncReport, window: Window, status: str, error: str = "") -> None:
        """Record how far the run is, or how it ended."""
        run = Run(
            report.run_id,
            status,
            self._started_at,
            None if status == "running" else self._clock(),
            window.start,
            window.end,
            report.watermark if status == "done" else None,
            report.counts,
            socket.gethostname(),
            os.getpid(),
            error,
            report.corrections.as_json(),
            self._account.environment,
            self._account.key_digest,
            self.table.identity,
            self.table.rows,
            report.open_breaks,
            self.open_breaks.as_json(),
            tuple(report.notes),
            self.settlements,
        )
        self._recorded_at = self._later_than_all(self._recorded_at)
        self._store.record(run, self._recorded_at)

    def record_failure(self, report: SyncReport, window: Window, error: BaseException) -> None:
        """Record that the run failed, as far as the ledger is there."""
        sentence = (
            error.message
            if isinstance(error, KalshiFillsError | Interrupted)
            else type(error).__name__
        )
        # The ledger may be what failed; the first error is the one that counts.
        with contextlib.suppress(KalshiFillsError):
            self.record(report, window, "failed", f"{report.stage}: {sentence}")

    def close_dead_runs(self) -> list[Unfinished]:
        """Close the entries of runs that died; return the runs that may be at work.

        | unfinished run                                    | what it is               |
        | ------------------------------------------------- | ------------------------ |
        | of another host, begun more than a day ago        | dead                     |
        | of this host, its process is gone                 | dead                     |
        | of this host, its process id is this run's        | dead: ids were given out |
        |                                                   | anew, as in a container  |
        | of this host, begun more than six hours ago       | dead: its id is another  |
        |                                                   | process's by now         |
        | any other                                         | may be at work           |
        """
        alive: list[Unfinished] = []
        for run in self._store.unfinished():
            if not is_dead(run, self._started_at):
                if self._started_at - run.started_at < MAY_BE_AT_WORK:
                    _warn_concurrent_run(run)
                    alive.append(run)
                continue
            log.warning(
                "run_found_dead",
                extra={"fields": {"run_id": run.run_id, "started_at": run.started_at.isoformat()}},
            )
            self._store.record(_dead(run, self._clock()), self._later_than_all(run.recorded_at))
        return alive

    def _later_than_all(self, known: datetime | None) -> datetime:
        """Return the clock, but later than a known entry and every other: the latest counts.

        Without that the entries of a host whose clock runs ahead would hide those of the others.
        """
        moment = max(self._clock(), self._store.latest_entry() + _TICK)
        return moment if known is None else max(moment, known + _TICK)


def is_dead(run: Unfinished, now: datetime) -> bool:
    """Return whether a run that never ended is taken for dead."""
    if run.host != socket.gethostname():
        return now - run.started_at >= DEAD_ELSEWHERE
    # One with a lock folder of its own may be alive.
    return (
        run.pid == os.getpid() or not _is_alive(run.pid) or now - run.started_at >= MAY_BE_AT_WORK
    )


def _is_alive(pid: int) -> bool:
    if pid <= 0:  # to signal these would reach a whole group of processes
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _warn_concurrent_run(run: Unfinished) -> None:
    """Log that another run may be at work; the table stays right whatever it does."""
    log.warning(
        "another_run_at_work",
        extra={
            "fields": {
                "host": run.host,
                "process": run.pid,
                "run_id": run.run_id,
                "started_at": run.started_at.isoformat(),
            },
            "printed": True,
        },
    )


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
