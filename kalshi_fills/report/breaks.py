"""Breaks between exchange and table: as JSON, as a row of the page, and as lines of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.console import Console
from rich.text import Text

from kalshi_fills.reconcile.breaks import FillSide
from kalshi_fills.report.console import harmless, new_table
from kalshi_fills.words import many

if TYPE_CHECKING:
    from kalshi_fills.reconcile.breaks import Break, Side

_SHOWN_BREAKS: Final = 20

_PLACES: Final = {
    "price_cents": 4,
    "yes_price_dollars": 6,
    "no_price_dollars": 6,
    "fee_dollars": 6,
    "fees_dollars": 6,
    "fee_cost": 6,
}
"""Decimal places of the fields that do not have two, as contracts do."""


class BreakRow(NamedTuple):
    """One break as the page lists it; the fields are its columns."""

    kind: str
    of: str
    market: str | None
    fill_id: str | None
    order_id: str | None
    field: str | None
    exchange: str | None
    table: str | None


def break_json(found: Break) -> dict[str, object]:
    """Return a break as the contract's JSON."""
    return {
        "kind": found.kind,
        "scope": found.scope,
        "fill_id": found.fill_id,
        "order_id": found.order_id,
        "market_ticker": found.market_ticker,
        "field": found.field,
        "exchange": exchange_side(found),
        "table": table_side(found),
    }


def break_row(found: Break) -> BreakRow:
    """Return a break as a row of the page."""
    return BreakRow(
        kind=found.kind,
        of=found.scope,
        market=found.market_ticker,
        fill_id=found.fill_id,
        order_id=found.order_id,
        field=found.field,
        exchange=exchange_side(found),
        table=table_side(found),
    )


def exchange_side(found: Break) -> str | None:
    """Return what the exchange has, in a few words; None if it has nothing."""
    return _side_text(found.exchange, found.field)


def table_side(found: Break) -> str | None:
    """Return what the table has, in a few words; None if it has nothing."""
    return _side_text(found.table, found.field)


def _side_text(side: Side | None, field: str | None) -> str | None:
    if isinstance(side, FillSide):
        return (
            f"{side.contracts:.2f} {side.outcome} at {side.price_dollars:.6f} "
            f"on {_time_text(side.executed_at)}"
        )
    if side is None or isinstance(side, str):
        return side
    if isinstance(side, bool):
        return "true" if side else "false"
    if isinstance(side, Decimal):
        return f"{side:.{_PLACES.get(field or '', 2)}f}"
    return _time_text(side) if isinstance(side, datetime) else str(side)


def _time_text(moment: datetime) -> str:
    return moment.isoformat(" ", "microseconds")[:26]


def show_breaks(
    console: Console,
    breaks: Sequence[Break],
    more_breaks: bool,
    at_most: int | None = _SHOWN_BREAKS,
    how_to_see_all: str = "--format json",
) -> None:
    """Print the first breaks, with both sides of each.

    Args:
        console: where to.
        breaks: what a comparison listed.
        more_breaks: whether there are more than are listed.
        at_most: how many are printed; None for all of them.
        how_to_see_all: the option that lists all.
    """
    if not breaks:
        return
    count = f"{len(breaks):,} and more breaks" if more_breaks else many(len(breaks), "break")
    table = new_table(f"{count} between exchange and table")
    table.add_column("kind", no_wrap=True)
    # An id that is cut off cannot be looked up.
    table.add_column("what, and what each side says", overflow="fold")
    for found in breaks[:at_most]:
        kind = found.kind if found.scope == "fill" else f"{found.kind} ({found.scope})"
        table.add_row(kind, Text("\n".join(map(harmless, _break_lines(found)))))
    console.print(table)
    if at_most is not None and len(breaks) > at_most:
        console.print(f"{len(breaks) - at_most:,} more with {how_to_see_all}.\n")


def _break_lines(found: Break) -> Iterator[str]:
    if found.market_ticker:
        yield found.market_ticker
    if found.fill_id:
        yield f"fill  {found.fill_id}"
    if found.order_id:
        yield f"order {found.order_id}"
    field = f"{found.field}: " if found.field else ""
    sides = {"exchange": exchange_side(found), "table": table_side(found)}
    yield field + ", ".join(f"{name} {side}" for name, side in sides.items() if side is not None)
