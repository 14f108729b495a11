"""What a pass does about refused items at its end: closed, accepted, or holding it back."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from kalshi_fills.pipeline.content import key_hash
from kalshi_fills.pipeline.fills import EARLIEST_FILL
from kalshi_fills.sync.claims import closed_claims, read_claim

if TYPE_CHECKING:
    from kalshi_fills.pipeline.seen import SeenFills
    from kalshi_fills.pipeline.window import Window
    from kalshi_fills.sync.tally import Tally
    from kalshi_fills.warehouse.store import FillStore

_FILTERS_WIDER: Final = timedelta(seconds=2)
"""How much earlier than its window a pass may meet a fill."""


def accept_refused(store: FillStore, tally: Tally, barren_tiers: set[str]) -> None:
    """Accept what was refused, as the operator asked: nothing of it holds the pass back."""
    store.accept_rejected(all_of_this_run=bool(barren_tiers))
    tally.report.claims = tally.report.conflicts = 0
    tally.caps.accept_claims()


def report_refused(tally: Tally, barren_tiers: set[str]) -> None:
    """Report what was refused and not accepted, and keep the watermark from passing it."""
    report = tally.report
    report.refused_everything = bool(barren_tiers)
    if barren_tiers:
        tally.caps.cap_at_claim(None)
    report.more_breaks = report.more_breaks or report.conflicts > len(tally.conflicts)
    for conflict in tally.conflicts.values():
        report.breaks += conflict.breaks()
    if tally.conflicts_since is not None:
        tally.caps.cap_watermark(tally.conflicts_since)


def close_claims(store: FillStore, seen: SeenFills, window: Window) -> None:
    """Accept the claims of earlier passes whose fills this one met: their fills are stored."""
    if not len(seen):
        return
    since = (window.start or EARLIEST_FILL) - _FILTERS_WIDER
    for page in store.open_claims():
        store.close_claims(
            closed_claims(
                [read_claim(claim.fingerprint, claim.payload) for claim in page],
                met=lambda key: key_hash(*key) in seen,
                keys_of=lambda ids: store.keys_of(ids, since),
            )
        )
