"""Blocks into the tables, in a thread of their own while the next pages are fetched."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from kalshi_fills.pipeline.batch import Batch
from kalshi_fills.pipeline.content import contradictions, differences, rank
from kalshi_fills.sync.contested import Conflict, join, reports

if TYPE_CHECKING:
    from kalshi_fills.pipeline.fills import Fill, FillKey, Rejected
    from kalshi_fills.sync.intake import Block
    from kalshi_fills.warehouse.fills import WriteOutcome, Written
    from kalshi_fills.warehouse.store import FillStore

_GIVING_UP_SECONDS: Final = 0.5
"""How long ClickHouse has to end once it is given up."""


class WrittenBlock(NamedTuple):
    """What became of one block."""

    written: WriteOutcome
    enriched: list[Written]
    """Fills of earlier blocks that came again and knew more; counted as the duplicates they are."""
    conflicts: dict[str, Conflict]
    """Contradictions within what the exchange sent that were not accepted, by fingerprint."""
    claims: list[Rejected]
    """Refused items that claim to be fills and were not accepted."""
    barren_tiers: set[str]
    """Tiers without a fill so far that sent refused items which were not accepted."""


class Writer:
    """The thread that writes; while a block is under way it alone uses the store."""

    def __init__(self, store: FillStore, now: datetime) -> None:
        self._store = store
        self._now = now
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._under_way: Future[WrittenBlock] | None = None
        self.blocks = 0
        """How many were handed over."""

    @property
    def is_idle(self) -> bool:
        """Return whether nothing is being written."""
        return self._under_way is None or self._under_way.done()

    def submit(self, block: Block, tiers_with_fills: frozenset[str]) -> None:
        """Begin to write a block; the one before must have been collected."""
        if len(block):
            self.blocks += 1
            self._under_way = self._thread.submit(
                write_block, self._store, block, tiers_with_fills, self._now
            )

    def collect(self) -> WrittenBlock | None:
        """Wait for the block that is under way, and return what became of it.

        Raises:
            WarehouseError: it could not be written.
        """
        if self._under_way is None:
            return None
        under_way, self._under_way = self._under_way, None
        return under_way.result()

    def abort(self, last: Callable[[], None], patience_seconds: float | None) -> None:
        """Run one last task behind what is being written.

        Args:
            last: what is to be done.
            patience_seconds: how long ClickHouse may stay silent until it is given up; None waits.
        """
        ending = self._thread.submit(last)
        while not ending.done():
            try:
                wait([ending], patience_seconds)
            finally:  # interrupted once more, too
                if not ending.done():
                    self._store.give_up()
                    patience_seconds = _GIVING_UP_SECONDS
        ending.result()

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()


def write_block(
    store: FillStore, block: Block, tiers_with_fills: frozenset[str], now: datetime
) -> WrittenBlock:
    """Write one block, and put what was refused into quarantine.

    A fill met again with another content never replaces the first by coming last: the one that
    knows more is taken, and where two contradict each other the other one is a break.

    Args:
        store: the tables.
        block: what is to be written.
        tiers_with_fills: the tiers that sent a fill so far.
        now: the clock.
    """
    conflicts: list[Conflict] = []
    earlier: list[Fill] = []
    batch = block.batch
    positions = {batch.key(place): place for place in range(len(batch))} if block.again else {}
    met: dict[int, list[Fill]] = {}
    for fill in block.again:
        place = positions.get(fill.key)
        if place is None:
            earlier.append(fill)
        else:
            met.setdefault(place, [batch.fill(place)]).append(fill)
    if met:
        batch = batch.without(met)
    for fills in met.values():
        # The best first, so that what three or more come to does not depend on their order.
        joined, *others = sorted(fills, key=rank, reverse=True)
        for other in others:
            joined = _joined(joined, other, conflicts)
        batch.add(joined)
    written = store.write(batch)
    richer = _richer(store, earlier, conflicts, now)
    enriched = store.write(Batch.of(richer.values()), met_before=True).looked_at
    refused = [(conflict.refused(), conflict) for conflict in conflicts]
    kept = [one.item for one in block.refused] + [item for item, _ in refused]
    if not kept:
        return WrittenBlock(written, enriched, {}, [], set())
    store.quarantine(kept, now)
    # What claims nothing costs an exit code only where a tier sends nothing else.
    weighty = [
        one for one in block.refused if one.item.claims_fill or one.tier not in tiers_with_fills
    ]
    accepted = store.accepted([one.item for one in weighty] + [item for item, _ in refused])
    left = [one for one in weighty if one.item.fingerprint not in accepted]
    return WrittenBlock(
        written,
        enriched,
        {item.fingerprint: one for item, one in refused if item.fingerprint not in accepted},
        [one.item for one in left if one.item.claims_fill],
        {one.tier for one in left},
    )


def _richer(
    store: FillStore, earlier: list[Fill], conflicts: list[Conflict], now: datetime
) -> dict[FillKey, Fill]:
    """Return what fills of earlier blocks, met again with another content, have to become.

    The contradictions found are added to `conflicts`.
    """
    stored = store.read_rows({fill.key for fill in earlier})  # a dry run stored nothing
    found = [fill for fill in earlier if fill.key in stored]
    contested = {
        fill.key for fill in found if contradictions(stored[fill.key].content, fill.content)
    }
    # A stored row may be completed from several reports; two reports are compared with each other.
    best = reports(store.payloads(contested), now)
    richer: dict[FillKey, Fill] = {}
    for fill in found:
        key, row = fill.key, stored[fill.key].content
        first = richer.get(key) or (best.get(key) if key in contested else None)
        if first is not None:
            richer[key] = _joined(first, fill, conflicts)
        elif key in contested:  # an engine's own row, whose payload says nothing
            conflicts.append(Conflict(row, fill))
        elif differences(row, fill.content):
            richer[key] = fill
    return richer


def _joined(one: Fill, other: Fill, conflicts: list[Conflict]) -> Fill:
    joined, conflict = join(one, other)
    if conflict is not None:
        conflicts.append(conflict)
    return joined
