"""What the written blocks come to: counts, what the table must hold, what holds the watermark."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from kalshi_fills.pipeline.batch import Batch
from kalshi_fills.pipeline.content import time_text
from kalshi_fills.pipeline.fills import EARLIEST_FILL, Rejected
from kalshi_fills.pipeline.seen import HourlyDigests
from kalshi_fills.reconcile.breaks import MAX_BREAKS
from kalshi_fills.sync.watermark import Caps

if TYPE_CHECKING:
    from kalshi_fills.pipeline.window import Window
    from kalshi_fills.sync.contested import Conflict
    from kalshi_fills.sync.report import SyncReport
    from kalshi_fills.sync.writer import WrittenBlock
    from kalshi_fills.warehouse.fills import Written


@dataclass(slots=True)
class Tally:
    """What the written blocks of a pass come to."""

    window: Window
    report: SyncReport
    expected: HourlyDigests = field(default_factory=HourlyDigests)
    caps: Caps = field(default_factory=Caps)
    conflicts: dict[str, Conflict] = field(default_factory=dict)
    """The first `MAX_BREAKS` conflicts, by the fingerprint of the report that was not stored."""
    conflicts_since: datetime | None = None
    """The earliest event time of any of them."""
    barren_tiers: set[str] = field(default_factory=set)
    """Tiers that sent refused items, not accepted, before they sent a fill."""

    def add(self, block: WrittenBlock | None) -> None:
        """Add what became of a block; None where none was written."""
        if block is None:
            return
        counts = self.report.counts
        counts.n_new += block.written.n_new
        counts.n_known += block.written.n_known
        self._expect(block.written.as_sent)
        for written in block.written.looked_at:
            if written.differences:
                counts.n_corrected += 1
                self.report.corrections.add(written.fill, written.differences)
            else:
                counts.n_known += 1
            self._expect(Batch.of([written.fill]))
        for written in block.enriched:
            self._expect_instead(written)
            self.report.corrections.add(written.fill, written.differences)
        self.barren_tiers |= block.barren_tiers
        for fingerprint, conflict in block.conflicts.items():
            self.report.conflicts += fingerprint not in self.conflicts
            if len(self.conflicts) < MAX_BREAKS:
                self.conflicts[fingerprint] = conflict
            self.conflicts_since = min(conflict.moment, self.conflicts_since or conflict.moment)
        for item in block.claims:
            self.report.claims += 1
            self._cap_at_claim(item)

    def _expect(self, batch: Batch) -> None:
        """Expect the fills of the window among those that the table holds now."""
        within = batch.within(self.window)
        self.expected.add_all(within.ts, within.digest)

    def _expect_instead(self, written: Written) -> None:
        """Expect what a fill of an earlier block has become, at the time it has now."""
        if self.window.holds(written.time_before):
            self.expected.remove(time_text(written.time_before), written.before)
        self._expect(Batch.of([written.fill]))

    def _cap_at_claim(self, item: Rejected) -> None:
        # A time outside the window it was listed in says nothing of where it will be found.
        start = max(self.window.start or EARLIEST_FILL, EARLIEST_FILL)
        at = item.executed_at
        listed_there = at is not None and self.window._replace(start=start).holds(at)
        self.caps.cap_at_claim(at if listed_there else None)
