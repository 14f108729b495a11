"""Fills that stand in the table at another time: one mismatch, wherever they stand."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from kalshi_fills.pipeline.fills import Fill, FillKey
    from kalshi_fills.reconcile.breaks import Break
    from kalshi_fills.reconcile.listed import ListedFills
    from kalshi_fills.reconcile.reader import ExchangeReader
    from kalshi_fills.warehouse.store import FillStore

_LOOKED_UP_AT_ONCE: Final = 1_000

_STRANGE_LOOKED_UP: Final = 20
"""Rows that the exchange does not list, up to which it is asked for the fills of their orders."""


def join_moved_fills(
    breaks: list[Break], store: FillStore, reader: ExchangeReader, listed: ListedFills
) -> list[Break]:
    """Return the breaks, those of a fill that stands at another time as one mismatch.

    What is missing in the window may stand in the table outside of it, and what is unexpected
    there may be the exchange's at another time: both are looked up.
    """
    others = [one for one in breaks if one.scope != "fill"]
    joined = _joined([one for one in breaks if one.scope == "fill"])
    stored = _times_stored([one.key for one in joined if one.kind == "missing"], store)
    strange = [
        one
        for one in joined
        if one.kind == "unexpected"
        and one.fill_id
        and not (listed.holds(one.key) or reader.met(one.key))
    ]
    listed_again = _fills_of_orders(strange, reader) if len(strange) <= _STRANGE_LOOKED_UP else {}
    outcome: list[Break] = []
    for one in joined:
        if one.kind == "missing" and one.key in stored:
            outcome.append(_moved(one, one.executed_at, stored[one.key]))
        elif (
            one in strange
            and one.key in listed_again
            and listed_again[one.key].content.moment != one.executed_at
        ):
            outcome.append(_moved(one, listed_again[one.key].content.moment, one.executed_at))
        else:  # at the same time it is another row of a fill that stands in the table
            outcome.append(one)
    return [*outcome, *others]


def _times_stored(keys: list[FillKey], store: FillStore) -> dict[FillKey, datetime]:
    return {
        key: stored.content.moment
        for first in range(0, len(keys), _LOOKED_UP_AT_ONCE)
        for key, stored in store.read_rows(keys[first:][:_LOOKED_UP_AT_ONCE]).items()
    }


def _fills_of_orders(strange: list[Break], reader: ExchangeReader) -> dict[FillKey, Fill]:
    found: dict[FillKey, Fill] = {}
    for one in strange:
        if one.order_id and one.market_ticker and one.key not in found:
            fills = reader.fills_of_order(one.order_id, one.market_ticker)
            found |= {fill.key: fill for fill in fills}
    return found


def _joined(breaks: list[Break]) -> list[Break]:
    """Return the breaks, what is missing at one time and unexpected at another as one mismatch."""
    missing = {one.key: one for one in breaks if one.kind == "missing"}
    joined: list[Break] = []
    gone: set[FillKey] = set()
    for one in breaks:
        other = missing.get(one.key)
        if one.kind == "unexpected" and other is not None and one.key not in gone:
            gone.add(one.key)
            joined.append(_moved(one, other.executed_at, one.executed_at))
        else:
            joined.append(one)
    return [one for one in joined if not (one.kind == "missing" and one.key in gone)]


def _moved(one: Break, exchange: datetime | None, table: datetime | None) -> Break:
    return one._replace(kind="mismatch", field="ts", exchange=exchange, table=table)
