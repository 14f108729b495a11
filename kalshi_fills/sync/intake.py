"""Pages to blocks: what is new, what came again, what was refused. Writes nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from kalshi_fills.pipeline.batch import Batch
from kalshi_fills.pipeline.page import read_page
from kalshi_fills.pipeline.seen import SeenFills

if TYPE_CHECKING:
    from kalshi_fills.exchange.decode import Page
    from kalshi_fills.pipeline.fills import Fill, FillKey, Rejected
    from kalshi_fills.pipeline.window import Window
    from kalshi_fills.sync.contested import Contested
    from kalshi_fills.sync.report import SyncReport

BLOCK_FILLS: Final = 25_000
"""How many fills are gathered for one insert at most: two such blocks are what memory must hold."""

_ENOUGH_FILLS: Final = 20_000
"""How many are enough where nothing is being written: an engine merges many small parts."""

_LONG_ENOUGH_SECONDS: Final = 0.4
"""After how long any number is enough, where pages come slower than they are written: little is
left to write once the last one has come."""


class Refused(NamedTuple):
    """A refused item, and the tier it came from."""

    tier: str
    item: Rejected


@dataclass(slots=True)
class Block:
    """What is handed to the writer at once."""

    batch: Batch = field(default_factory=Batch)
    """Fills, each once."""
    again: list[Fill] = field(default_factory=list)
    """Fills that were met before with another content, in this block or an earlier one."""
    refused: list[Refused] = field(default_factory=list)

    def __len__(self) -> int:
        return max(len(self.batch), len(self.again), len(self.refused))


class Intake:
    """What a pass remembers of the pages that it read."""

    def __init__(self, now: datetime, contested: dict[FillKey, Contested]) -> None:
        self._now = now
        self._contested = contested
        self._block = Block()
        self._block_begun_at = time.monotonic()
        self.seen = SeenFills()
        self.tiers_with_items: set[str] = set()
        self.tiers_with_fills: set[str] = set()

    @property
    def is_full(self) -> bool:
        """Return whether enough was gathered for a block."""
        return len(self._block) >= BLOCK_FILLS

    @property
    def has_enough(self) -> bool:
        """Return whether there is enough for a writer that has nothing else to do."""
        gathered_seconds = time.monotonic() - self._block_begun_at
        return len(self._block) >= _ENOUGH_FILLS or gathered_seconds >= _LONG_ENOUGH_SECONDS

    def next_block(self) -> Block:
        """Return what was gathered, and begin the next block."""
        block, self._block = self._block, Block()
        self._block_begun_at = time.monotonic()
        return block

    def take(self, page: Page, report: SyncReport) -> None:
        """Take a page through the stages, and count it in the report."""
        batch, rejected = read_page(page.items, page.tier, self._now, report.counts)
        for refusal in rejected:
            report.refusals.add(refusal)
            self._block.refused.append(Refused(page.tier, refusal))
        if page.items:
            self.tiers_with_items.add(page.tier)
        if len(batch):
            self.tiers_with_fills.add(page.tier)
        self._take_fills(batch, report)
        report.pages += 1
        if page.share is not None:
            report.share_read = max(page.share, report.share_read or 0.0)

    def _take_fills(self, batch: Batch, report: SyncReport) -> None:
        """Add fills to the block; one that was met before stays out of its batch."""
        marks = [hash(text) & 0xFFFFFFFF for text in batch.raw_json]
        met_before = self.seen.add_all(batch.key_hash, marks)
        report.counts.n_duplicate += len(met_before)
        left_out = set(met_before)
        if "true" in batch.id_synthetic:
            report.made_up_ids += batch.without(left_out).id_synthetic.count("true")
        # What came word for word before is left out. What came otherwise may be an archived row
        # that lacks the newer fields, or a contradiction: the writer looks at it.
        other = {position for position, mark in met_before.items() if mark != marks[position]}
        if self._contested:
            # In the order in which they came, as reports are joined when they are met first.
            for position in range(len(batch)):
                contested = self._contested.get(batch.key(position))
                if contested is not None and (position not in left_out or position in other):
                    contested.reported.append(batch.fill(position))
                    left_out.add(position)
                    other.discard(position)
        self._block.again += [batch.fill(position) for position in sorted(other)]
        self._block.batch.extend(batch.without(left_out) if left_out else batch)

    def beaten(self) -> list[FillKey]:
        """Return the contested fills that came with contents only that are not stored."""
        return [key for key, one in self._contested.items() if one.reported and one.all_known()]

    def release_contested(self, stored: Mapping[FillKey, Fill], window: Window) -> None:
        """Put every report of the fills known to be sent with two contents into one block.

        Args:
            stored: the stored reports of the fills that `beaten` returns. Where only the content
                came that is not stored, it is the only one left, unless the stored one has an event
                time that this pass did not ask for.
            window: what this pass asks for.
        """
        for key, contested in self._contested.items():
            fills = contested.reported
            if not fills:
                continue
            elsewhere = stored.get(key)
            if elsewhere is not None and not window.holds(elsewhere.content.moment):
                fills = [elsewhere, *fills]
            self._block.batch.add(fills[0])
            self._block.again += fills[1:]
