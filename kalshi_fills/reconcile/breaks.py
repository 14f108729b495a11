"""What a break is: one disagreement between exchange and table, both sides as values.

Sentences are made of breaks in `report` only; nothing here or elsewhere reads one back.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from kalshi_fills.pipeline.content import Difference
from kalshi_fills.pipeline.fills import Content, FillKey

MAX_BREAKS: Final = 10_000
"""Breaks that a sync or a diagnosis lists; the report says where there are more."""

Value = str | bool | int | Decimal | datetime
"""One field of a fill, order, position or settlement; an empty text where it is not known."""

_DECIMALS = ("price_cents", "yes_price_dollars", "no_price_dollars", "size", "fee_dollars")

_FLAGS = {"true": True, "false": False}


class FillSide(NamedTuple):
    """A fill that one side has and the other has not."""

    executed_at: datetime
    outcome: str
    """yes or no; what the table holds may be neither."""
    price_dollars: Decimal
    """The price of its outcome."""
    contracts: Decimal


Side = FillSide | Value
"""A whole fill, or the value of the field in which both sides differ."""


class Break(NamedTuple):
    """One disagreement between exchange and table."""

    kind: str
    """missing (exchange only), unexpected (table only) or mismatch (both, different content)."""
    scope: str
    """fill, order, position or settlement."""
    fill_id: str | None
    order_id: str | None
    market_ticker: str | None
    field: str | None
    """The field that differs; None where one side lacks the fill."""
    exchange: Side | None
    """What the exchange has; None where it has nothing of it."""
    table: Side | None
    """What the table has; None where it has nothing of it."""

    @property
    def key(self) -> FillKey:
        """The identity of the fill; parts that are not known are empty."""
        return FillKey(self.fill_id or "", self.order_id or "")

    @property
    def executed_at(self) -> datetime | None:
        """When the fill was traded that one side lacks; None for any other break."""
        for side in (self.exchange, self.table):
            if isinstance(side, FillSide):
                return side.executed_at
        return None


def missing_fill(fill: Content) -> Break:
    """Return the break of a fill that the table lacks."""
    return _fill_break("missing", fill)._replace(exchange=_side(fill))


def unexpected_row(row: Content) -> Break:
    """Return the break of a row that is not among the exchange's fills."""
    return _fill_break("unexpected", row)._replace(table=_side(row))


def _fill_break(kind: str, fill: Content) -> Break:
    return Break(kind, "fill", *fill.key, fill.market_ticker, None, None, None)


def _side(fill: Content) -> FillSide:
    price = fill.no_price_dollars if fill.side == "no" else fill.yes_price_dollars
    return FillSide(fill.moment, fill.side, Decimal(price), Decimal(fill.size))


def mismatch(fill: Content, found: Difference) -> Break:
    """Return the break of a fill that both sides have, with another value of one field."""
    field = found.field
    return _fill_break("mismatch", fill)._replace(
        field=field, exchange=_value(field, found.reported), table=_value(field, found.stored)
    )


def _value(field: str, text: str) -> Value:
    """Return the value that a content has as text."""
    if not text:
        return text
    if field == "ts":
        return datetime.fromisoformat(f"{text}Z")
    if field in _DECIMALS:
        return Decimal(text)
    if field in ("subaccount_number", "exchange_index"):
        return int(text)
    if field in ("is_taker", "direction_inferred"):
        return _FLAGS.get(text, text)
    return text
