"""What a pass did, filled in as it goes. How it is printed stands in `kalshi_fills.report`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from kalshi_fills.pipeline.stages import Counts, Refusals
from kalshi_fills.warehouse.runs import Corrections

if TYPE_CHECKING:
    from kalshi_fills.pipeline.window import Window
    from kalshi_fills.reconcile.breaks import Break

log = logging.getLogger(__name__)


@dataclass(slots=True)
class SettlementCounts:
    """What became of the items in the list of settlements; each is counted once."""

    n_api: int = 0
    n_new: int = 0
    n_corrected: int = 0
    n_known: int = 0
    """Stored before with the same content, or met again in this pass."""
    n_rejected: int = 0


@dataclass(slots=True)
class SyncReport:
    """What a pass did, complete once `status` is done."""

    run_id: UUID
    dry_run: bool = False
    status: str = "running"
    window: Window | None = None
    watermark: datetime | None = None
    would_be_watermark: datetime | None = None
    """Where a dry run would have moved it."""
    counts: Counts = field(default_factory=Counts)
    refusals: Refusals = field(default_factory=Refusals)
    corrections: Corrections = field(default_factory=Corrections)
    settlements: SettlementCounts = field(default_factory=SettlementCounts)
    breaks: list[Break] = field(default_factory=list)
    more_breaks: bool = False
    """There are more breaks than are listed."""
    claims: int = 0
    """Refused items that claim to be fills and were not accepted by the operator."""
    open_breaks: int = 0
    """Breaks that are open after the pass, those of earlier runs outside its window included."""
    open_since: datetime | None = None
    """The earliest event time of an open break."""
    notes: list[str] = field(default_factory=list)
    """What else the operator has to know, as sentences."""
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
    """The step that the pass is at, or at which it failed."""

    @property
    def has_findings(self) -> bool:
        """Return whether the operator must look: something may be missing, or both sides differ."""
        return (
            self.claims > 0 or self.refused_everything or self.made_up_ids > 0 or bool(self.breaks)
        )

    def begin(self, stage: str) -> None:
        """Begin a step of the pass."""
        self.stage = stage
        log.debug("sync_step", extra={"fields": {"step": stage, "run_id": self.run_id}})

    def note(self, sentence: str) -> None:
        """Add something that the operator has to know; an empty sentence adds nothing."""
        if sentence:
            self.notes.append(sentence)
            log.warning("sync_note", extra={"fields": {"note": sentence}, "printed": True})

    def log_stats(self) -> None:
        """Log the numbers of the pass, once it has ended."""
        fields = {
            "run_id": str(self.run_id),
            **self.counts.as_dict(),
            **self.counts.rates(),
            "status": self.status,
            "dry_run": self.dry_run,
            "breaks": len(self.breaks),
            "open_breaks": self.open_breaks,
            "notes": len(self.notes),
            "settlements": asdict(self.settlements),
            "claims_refused": self.claims,
            "refused_everything": self.refused_everything,
            "made_up_ids": self.made_up_ids,
            "conflicts": self.conflicts,
            "watermark": self.watermark.isoformat() if self.watermark else None,
            "pages": self.pages,
            "requests": self.requests,
            "elapsed_seconds": self.elapsed_seconds,
        }
        log.info("fill_pipeline_stats", extra={"fields": fields})


Progress = Callable[[SyncReport], None]
"""Is called after every page."""
