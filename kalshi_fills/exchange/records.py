"""What the exchange reports of orders and positions, as far as fills can be compared with it.

Only what follows exactly from fills is read: an order's filled contracts and fees, a position's
contracts (`fill_count_fp`, `*_fees_dollars`, `position_fp`). Limits, costs and exposures do not.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta

from kalshi_fills.pipeline.fills import EARLIEST_FILL
from kalshi_fills.pipeline.values import JsonValue, decode_item, event_time, read_text


class Order(NamedTuple):
    """What became of an order."""

    order_id: str
    ticker: str
    created_at: datetime
    contracts: Decimal
    """Filled so far, over all its fills."""
    fees_dollars: Decimal | None
    """Taker and maker fees of all its fills; None where one of the two is not reported."""
    last_update_time: JsonValue = None
    """As the exchange reports it."""

    @property
    def updated_at(self) -> datetime | None:
        """When the exchange last changed it, aware UTC; None where not reported.

        A time before 2021 is none: Go's zero time stands for an order that was never updated.
        """
        moment = event_time({"created_time": self.last_update_time})
        return None if moment is None or moment < EARLIEST_FILL else moment


class Position(NamedTuple):
    """What a subaccount holds of a market that is not settled."""

    ticker: str
    subaccount_number: int
    contracts: Decimal
    """Yes contracts; negative is long no."""


_Id = Annotated[str, Meta(min_length=1)]


class _PlainOrder(msgspec.Struct, gc=False):
    """An order as the exchange sends it today, as far as it is compared."""

    order_id: _Id
    ticker: _Id
    created_time: Annotated[datetime, Meta(tz=True)]
    fill_count_fp: str
    taker_fees_dollars: str
    maker_fees_dollars: str
    last_update_time: str | None = None


_decode_plain_order: Final = msgspec.json.Decoder(_PlainOrder).decode

_PLAIN_DECIMAL: Final = re.compile(r"[0-9]{1,12}\.[0-9]{1,6}", re.ASCII).fullmatch


def read_order(item: str) -> Order | None:
    """Return an order of its JSON text, None for an item without what is compared."""
    try:
        order = _read_plain_order(_decode_plain_order(item))
    except (msgspec.MsgspecError, RecursionError):
        order = None
    return order or _read_any_order(decode_item(item))


def _read_plain_order(plain: _PlainOrder) -> Order | None:
    """Return an order that is as all orders of today, None where `_read_any_order` must decide."""
    contracts = _plain_amount(plain.fill_count_fp)
    taker_fees = _plain_amount(plain.taker_fees_dollars)
    maker_fees = _plain_amount(plain.maker_fees_dollars)
    if contracts is None or taker_fees is None or maker_fees is None:
        return None
    created, updated = plain.created_time, plain.last_update_time
    if created.tzinfo is not UTC:
        return None
    return Order(plain.order_id, plain.ticker, created, contracts, taker_fees + maker_fees, updated)


@lru_cache(1 << 14)
def _plain_amount(text: str) -> Decimal | None:
    return Decimal(text) if _PLAIN_DECIMAL(text) else None


def _read_any_order(value: JsonValue) -> Order | None:
    if not isinstance(value, dict):
        return None
    order_id = _filled_text(value.get("order_id"))
    ticker = _filled_text(value.get("ticker") or value.get("market_ticker"))
    created = event_time({"created_time": value.get("created_time")})
    contracts = _decimal(value.get("fill_count_fp"))
    if order_id is None or ticker is None or created is None or contracts is None:
        return None
    fees = [_decimal(value.get(f"{who}_fees_dollars")) for who in ("taker", "maker")]
    known = [fee for fee in fees if fee is not None]
    return Order(
        order_id,
        ticker,
        created,
        contracts,
        sum(known, Decimal(0)) if len(known) == len(fees) else None,
        value.get("last_update_time"),
    )


def read_position(item: str, subaccount_number: int) -> Position | None:
    """Return a position of a subaccount, None for an item without what is compared."""
    value = decode_item(item)
    if not isinstance(value, dict):
        return None
    ticker, contracts = _filled_text(value.get("ticker")), _decimal(value.get("position_fp"))
    if ticker is None or contracts is None:
        return None
    return Position(ticker, subaccount_number, contracts)


def _filled_text(value: JsonValue) -> str | None:
    return read_text(value) or None


def _decimal(value: JsonValue) -> Decimal | None:
    if not isinstance(value, str | int | Decimal) or isinstance(value, bool):
        return None
    try:
        number = Decimal(value)
    except ArithmeticError:
        return None
    return number if number.is_finite() else None
