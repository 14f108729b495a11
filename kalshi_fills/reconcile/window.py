"""The leg of fills: what the exchange listed for the window against the table's rows of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kalshi_fills.reconcile.fills import (
    Stretch,
    by_key,
    compare_fills,
    differing_stretches,
)
from kalshi_fills.reconcile.moved import join_moved_fills

if TYPE_CHECKING:
    from kalshi_fills.pipeline.fills import Content
    from kalshi_fills.reconcile.listed import Bounds, ListedFills
    from kalshi_fills.reconcile.reader import ExchangeReader
    from kalshi_fills.reconcile.reconciliation import Reconciliation
    from kalshi_fills.warehouse.store import FillStore


def compare_window(
    reader: ExchangeReader,
    store: FillStore,
    listed: ListedFills,
    bounds: Bounds,
    found: Reconciliation,
) -> None:
    """Compare the fills of the window with the table's rows of it, hour by hour.

    Digests per hour come first; fills are asked for again only where an hour differs.
    """
    stored = store.hours(found.compared.start, found.compared.end, len(listed.seen))
    stretches = differing_stretches(listed.expected.hours, stored, found.compared)
    _compare_stretches(stretches, reader, store, listed, bounds, found)
    found.table_rows = sum(hour.fills for hour in stored.values()) - found.hidden
    found.breaks = join_moved_fills(found.breaks, store, reader, listed)


def _compare_stretches(
    stretches: Iterable[Stretch],
    reader: ExchangeReader,
    store: FillStore,
    listed: ListedFills,
    bounds: Bounds,
    found: Reconciliation,
) -> None:
    for stretch in stretches:
        rows = _visible(store.rows_between(stretch.since, stretch.until), listed, found)
        fills = by_key(reader.fills_of_window(stretch.window))
        for one in compare_fills(fills, rows, bounds.current_until):
            if one.kind == "missing":
                fill = fills[one.key]
                if not (stretch.surely_holds(fill) and listed.holds(fill.key)):
                    continue
                if bounds.pending_from is not None and fill.content.moment >= bounds.pending_from:
                    found.pending += 1
                    found.proven.remove(fill)
                    continue
            if not found.has_room():
                return
            found.breaks.append(one)
            found.note_difference(stretch.since)


def _visible(rows: list[Content], listed: ListedFills, found: Reconciliation) -> list[Content]:
    """Return the rows of fills that the exchange shows to this key; count the others as hidden."""
    if not found.restricted:
        return rows
    visible = [row for row in rows if _is_visible(row, listed)]
    found.hidden += len(rows) - len(visible)
    return visible


def _is_visible(row: Content, listed: ListedFills) -> bool:
    subaccount = row.subaccount_number
    if subaccount:
        return subaccount in listed.subaccounts
    # Whose it is, only the exchange knows.
    return listed.holds(row.key)
