"""Who wrote the rows that differ from the exchange: a sync, another writer, or somebody later.

A row that a sync wrote and the exchange no longer lists is a withdrawn trade; one that no sync
wrote is no fill at all; and a row whose content is not the one that its sync wrote was changed by
somebody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from kalshi_fills.pipeline.fills import FillKey
    from kalshi_fills.reconcile.breaks import Break
    from kalshi_fills.reconcile.lookups import TableLookups


class Writer(NamedTuple):
    """Who wrote the row of a fill."""

    fill_id: str
    exchange_order_id: str
    by_sync: bool
    as_written: bool
    """The content is still the one that its sync wrote."""
    passes_gates: bool
    """It could be a fill: `truncate --garbage` leaves it."""


@dataclass(slots=True)
class Attribution:
    """The fills of the breaks, by who wrote their rows."""

    withdrawn: list[FillKey] = field(default_factory=list)
    """Written by a sync as they are; the exchange does not list them any more."""
    foreign: list[FillKey] = field(default_factory=list)
    """Never sent by the exchange, and written by no sync."""
    foreign_and_valid: list[FillKey] = field(default_factory=list)
    """Those of them that could be fills, so that `truncate --garbage` leaves them."""
    altered: list[FillKey] = field(default_factory=list)
    """Written by a sync and changed since."""
    of_others: list[FillKey] = field(default_factory=list)
    """With another content than the exchange's, and written by no sync."""
    changed_by_exchange: list[FillKey] = field(default_factory=list)
    """Still as a sync wrote them: the exchange sent another content then."""

    @property
    def left_by_garbage(self) -> list[FillKey]:
        """Return the fills that the exchange does not list and `truncate --garbage` leaves."""
        return [*self.withdrawn, *self.foreign_and_valid]


def attribute(
    breaks: Iterable[Break], lookups: TableLookups, is_listed: Callable[[FillKey], bool]
) -> Attribution:
    """Return who wrote the rows of breaks of scope fill; those without an id are left out.

    Args:
        breaks: what differs.
        lookups: the fills table, of today's schema.
        is_listed: returns whether the exchange lists a fill.

    Raises:
        WarehouseError: the table could not be read.
    """
    found = Attribution()
    of_fills = [one for one in breaks if one.scope == "fill" and one.fill_id]
    unexpected = _keys(one for one in of_fills if one.kind == "unexpected")
    mismatched = _keys(one for one in of_fills if one.kind == "mismatch")
    unlisted = [key for key in unexpected if not is_listed(key)]
    writers = lookups.writers([*unlisted, *mismatched])
    # A row whose id is not UTF-8 cannot be looked up by it, and may be one that could be a fill.
    nobody = Writer("", "", by_sync=False, as_written=False, passes_gates=True)
    for key in unlisted:
        writer = writers.get(key, nobody)
        if writer.by_sync and writer.as_written:
            found.withdrawn.append(key)
            continue
        found.foreign.append(key)
        if writer.passes_gates:
            found.foreign_and_valid.append(key)
    for key in mismatched:
        writer = writers.get(key, nobody)
        if not writer.by_sync:
            found.of_others.append(key)
        elif writer.as_written:
            found.changed_by_exchange.append(key)
        else:
            found.altered.append(key)
    return found


def _keys(breaks: Iterable[Break]) -> list[FillKey]:
    """Return the fills of breaks, each once, in their order."""
    return list(dict.fromkeys(one.key for one in breaks))
