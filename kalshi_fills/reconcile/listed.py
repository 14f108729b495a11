"""What the exchange lists for the window that is compared, and what of it must be stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from kalshi_fills.pipeline.content import key_hash
from kalshi_fills.pipeline.seen import HourlyDigests, SeenFills
from kalshi_fills.reconcile.breaks import MAX_BREAKS

if TYPE_CHECKING:
    from kalshi_fills.pipeline.batch import Batch
    from kalshi_fills.pipeline.fills import Fill, FillKey, Rejected
    from kalshi_fills.pipeline.window import Window
    from kalshi_fills.reconcile.reader import ExchangeReader
    from kalshi_fills.reconcile.reconciliation import Reconciliation


Say = Callable[[str], None]
"""Is called with what goes on, in a few words."""

Accepted = Callable[["Sequence[Rejected]"], set[str]]
"""Returns the fingerprints among refused items that the operator accepted."""


class Bounds(NamedTuple):
    """The times that decide what can be compared."""

    compared: Window
    current_until: datetime
    """Up to when the exchange's answers are complete."""
    pending_from: datetime | None
    """From here on a fill need not be in the table yet; None if it must at any time."""
    cutoff: datetime | None
    """Where the archive ends and the live tier begins; None where there is no archive."""


@dataclass(slots=True)
class ListedFills:
    """What the exchange lists for the window, a few bytes a fill."""

    seen: SeenFills = field(default_factory=SeenFills)
    expected: HourlyDigests = field(default_factory=HourlyDigests)
    subaccounts: set[str] = field(default_factory=set)
    per_order: Counter[str] = field(default_factory=Counter)
    """Fills by order id; counted only for a table without ids."""
    items: Counter[str] = field(default_factory=Counter)
    """Items by tier, whatever they are."""
    an_old_fill: Fill | None = None
    """The last one that was listed: mostly the oldest."""

    def holds(self, key: FillKey) -> bool:
        """Return whether a fill was listed."""
        return key_hash(*key) in self.seen


def must_be_stored(fill: Fill, bounds: Bounds, listed: ListedFills) -> bool:
    """Return whether a fill that the table lacks is a break: a sync has read so far."""
    moment = fill.content.moment
    if moment >= bounds.current_until:
        return False
    if bounds.compared.holds(moment) and not listed.holds(fill.key):
        return False  # the exchange lists it since
    return bounds.pending_from is None or moment < bounds.pending_from


def read_window(
    reader: ExchangeReader,
    accepted: Accepted,
    found: Reconciliation,
    say: Say,
    *,
    is_today: bool,
) -> ListedFills:
    """Read what the exchange lists for the window that is compared.

    Args:
        reader: the exchange.
        accepted: knows what the operator accepted.
        found: gets the number of fills and of claims.
        say: is called with what goes on.
        is_today: the table is of today's schema, so that its fills can be compared one by one.
    """
    listed = ListedFills()
    claims: set[str] = set()
    for page in reader.pages(found.compared):
        listed.items[page.tier] += len(page.items)
        batch, rejected = reader.read(page)
        _take(batch.within(found.compared), listed, found, is_today)
        claiming = _new_claims(rejected, claims)
        if claiming:
            left_out = accepted(claiming) if is_today else set()
            found.claims += sum(item.fingerprint not in left_out for item in claiming)
        say(f"reading the exchange's fills: {found.exchange_fills:,}")
    found.hours = {hour: one.fills for hour, one in listed.expected.hours.items()}
    return listed


def _take(batch: Batch, listed: ListedFills, found: Reconciliation, is_today: bool) -> None:
    listed_before = listed.seen.add_all(batch.key_hash, batch.digest)
    if listed_before:
        batch = batch.without(listed_before)
    if not len(batch):
        return
    found.exchange_fills += len(batch)
    listed.an_old_fill = batch.fill(len(batch) - 1)
    listed.expected.add_all(batch.ts, batch.digest)
    listed.subaccounts |= batch.subaccounts
    if is_today:
        found.proven.add_all(batch)
    else:
        listed.per_order.update(batch.exchange_order_id)


def _new_claims(rejected: list[Rejected], met: set[str]) -> list[Rejected]:
    """Return what claims to be a fill and was not met before, each once."""
    new = {item.fingerprint: item for item in rejected if item.claims_fill}
    claiming = [item for fingerprint, item in new.items() if fingerprint not in met]
    if len(met) < MAX_BREAKS:
        met.update(new)
    return claiming
