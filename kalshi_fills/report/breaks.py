"""Breaks as people and programs read them; what a break is stands in `reconcile`."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final

from kalshi_fills.reconcile.breaks import Break, FillSide, Side

_PLACES: Final = {
    "price_cents": 4,
    "yes_price_dollars": 6,
    "no_price_dollars": 6,
    "fee_dollars": 6,
    "fees_dollars": 6,
}
"""Decimal places of the fields that have not two, as contracts do."""


def break_json(found: Break) -> dict[str, str | None]:
    """Return a break as the contract's JSON."""
    return {
        "kind": found.kind,
        "scope": found.scope,
        "fill_id": found.fill_id,
        "order_id": found.order_id,
        "market_ticker": found.market_ticker,
        "field": found.field,
        "exchange": side_text(found, found.exchange),
        "table": side_text(found, found.table),
    }


def side_text(found: Break, side: Side | None) -> str | None:
    """Return one side of a break in words; None where it has nothing of it."""
    if isinstance(side, FillSide):
        return (
            f"{side.contracts:.2f} {side.outcome} at {side.price_dollars:.6f} "
            f"on {_instant(side.executed_at)}"
        )
    if side is None or isinstance(side, str):
        return side
    if isinstance(side, bool):
        return "true" if side else "false"
    if isinstance(side, Decimal):
        return f"{side:.{_PLACES.get(found.field or '', 2)}f}"
    return _instant(side) if isinstance(side, datetime) else str(side)


def _instant(moment: datetime) -> str:
    return moment.isoformat(" ", "microseconds")[:26]
