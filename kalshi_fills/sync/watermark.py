"""Where a pass starts, and how far its watermark may move."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from kalshi_fills.errors import SettingsError
from kalshi_fills.pipeline.fills import EARLIEST_FILL
from kalshi_fills.pipeline.window import Window


class SyncRequest(NamedTuple):
    """What the operator asked this pass to do."""

    since: datetime | None = None
    until: datetime | None = None
    full: bool = False
    overlap: timedelta = timedelta(hours=1)
    accept_rejected: bool = False
    dry_run: bool = False
    same_account: bool = False
    """The exchange's address differs from that of the last finished run, the account does not."""


def choose_window(request: SyncRequest, watermark: datetime | None, now: datetime) -> Window:
    """Return the range of event times that a pass asks for."""
    end = request.until or now
    if request.since is not None:
        return _ordered(max(request.since, EARLIEST_FILL), end)
    if request.full or watermark is None:
        return Window(None, end)
    # An overlap may reach back beyond the calendar; no fill does.
    watermark = max(watermark, EARLIEST_FILL)
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
