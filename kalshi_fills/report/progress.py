"""What moves on a terminal while a command works."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from rich.text import Text

from kalshi_fills.host.printable import visible
from kalshi_fills.report.console import HarmlessConsole
from kalshi_fills.words import many

if TYPE_CHECKING:
    from kalshi_fills.sync.report import SyncReport

_PROGRESS_AFTER_SECONDS: Final = 1.0

_CONNECTING: Final = "connecting"

_STEPS: Final[Mapping[str, str]] = {
    "start": _CONNECTING,
    "ledger": "looking at the tables",
    "fetch": "reading fills",
    "insert": "writing",
    "reconcile": "comparing",
    "record": "recording",
    "replicas": "waiting for replicas",
}
"""The steps of a pass in words."""


@contextmanager
def spinner() -> Iterator[Callable[[str], None]]:
    """Show a moving line on stderr with the current step, once a command takes over a second.

    Nothing moves where stderr is no terminal.
    """
    console = HarmlessConsole(stderr=True, highlight=False, emoji=False)
    if not console.is_terminal:
        yield lambda _: None
        return
    status = console.status(_CONNECTING)
    timer = threading.Timer(_PROGRESS_AFTER_SECONDS, status.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda text: status.update(Text(visible(text)))
    finally:
        timer.cancel()
        status.stop()


class _Step:
    """The step that a pass is at, whenever it is drawn."""

    report: SyncReport | None = None

    def __str__(self) -> str:
        stage = "start" if self.report is None else self.report.stage
        return _STEPS.get(stage, stage)

    def __format__(self, specification: str) -> str:
        return str(self)


@contextmanager
def sync_progress() -> Iterator[Callable[[SyncReport], None]]:
    """Show a bar on stderr with the progress of a pass, once it takes over a second.

    The time left is shown where it is known: on an account's first pass it is not, until the
    oldest fill is found. Nothing moves where stderr is no terminal.
    """
    console = HarmlessConsole(stderr=True, highlight=False, emoji=False)
    if not console.is_terminal:
        yield lambda _: None
        return
    from rich.progress import (  # not for cron, which starts faster without
        BarColumn,
        Progress,
        TextColumn,
    )

    bar = Progress(
        TextColumn("{task.fields[step]}"),  # read when drawn
        BarColumn(),
        TextColumn("{task.fields[amounts]}"),
        console=console,
        refresh_per_second=4,
        transient=True,
    )
    began = time.monotonic()
    step = _Step()
    task = bar.add_task("", total=None, amounts="", step=step)

    def update(report: SyncReport) -> None:
        step.report = report
        counts, share = report.counts, report.share_read
        rate = counts.n_api / max(time.monotonic() - began, 0.001)
        amounts = f"{many(counts.n_api, 'fill')}  {many(report.pages, 'page')}  {rate:,.0f} fills/s"
        bar.update(task, total=None if share is None else 1.0, completed=share or 0.0)
        left = bar.tasks[0].time_remaining
        if left:
            amounts += f"  about {timedelta(seconds=left)} left"
        bar.update(task, amounts=amounts)

    timer = threading.Timer(_PROGRESS_AFTER_SECONDS, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield update
    finally:
        timer.cancel()
        timer.join()
        bar.stop()
