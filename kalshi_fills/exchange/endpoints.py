"""The account's orders and positions, as far as fills can be held against them.

Only what ties out exactly is read: an order's filled contracts and fees, a position's contracts
(kalshi's `fill_count_fp`, `*_fees_dollars`, `position_fp`). Limits, costs and exposures do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from kalshi_fills.errors import ExchangeError
from kalshi_fills.exchange.client import Exchange
from kalshi_fills.exchange.decode import Item
from kalshi_fills.pipeline.fills import EARLIEST_FILL
from kalshi_fills.pipeline.parse import event_time
from kalshi_fills.pipeline.values import JsonValue
from kalshi_fills.pipeline.window import Window

_ORDERS_PATHS: Final = ("/portfolio/orders", "/historical/orders")

_NO_SUCH_ENDPOINT: Final = 404

_FORBIDDEN: Final = 403


class Order(NamedTuple):
    """What the exchange says an order came to."""

    order_id: str
    ticker: str
    created_at: datetime
    contracts: Decimal
    """Filled so far, over all its fills."""
    fees_dollars: Decimal | None
    """Taker and maker fees of all its fills; None where one of them is not told."""
    updated_at: datetime | None = None
    """When the exchange last changed it, aware UTC; None where not told."""


class Position(NamedTuple):
    """What the exchange says a subaccount holds of a market that is not settled."""

    ticker: str
    subaccount_number: int
    contracts: Decimal
    """Yes contracts; negative is long no."""


@dataclass(slots=True)
class Listed:
    """What came of reading a listing of orders or positions."""

    items: int = 0
    unreadable: int = 0
    """Items without what is compared: the exchange may have renamed a key."""
    no_archive: bool = False
    """The exchange has no archive of them."""

    def note(self, read: object) -> None:
        """Count one item, None where it could not be read."""
        self.items += 1
        self.unreadable += read is None


def orders(
    exchange: Exchange, window: Window, ticker: str | None = None, listed: Listed | None = None
) -> Iterator[list[Order]]:
    """Yield the orders created in a window that were filled at all, page by page, both tiers.

    An order may come twice, from both tiers. With a ticker, only the orders in that market.
    What came of reading them is counted in `listed`.

    Raises:
        ExchangeError: see `Exchange.walk`.
    """
    bounds = {"max_ts": str(int(window.end.timestamp()) + 1)}
    if window.start is not None:
        bounds["min_ts"] = str(int(window.start.timestamp()) - 1)
    if ticker is not None:
        bounds["ticker"] = ticker
    listed = listed or Listed()
    for path in _ORDERS_PATHS:
        try:
            for items in exchange.walk(path, bounds, "orders"):
                page = [_order(item.value) for item in items]
                for order in page:
                    listed.note(order)
                yield [
                    order
                    for order in page
                    if order is not None and order.contracts and window.holds(order.created_at)
                ]
        except ExchangeError as error:
            # Earlier eras have no archive of orders.
            if path == _ORDERS_PATHS[0] or error.status != _NO_SUCH_ENDPOINT:
                raise
            listed.no_archive = True


def positions(
    exchange: Exchange, subaccount_number: int, listed: Listed | None = None
) -> Iterator[list[Position]]:
    """Yield a subaccount's positions in markets that are not settled, page by page.

    What came of reading them is counted in `listed`.

    Raises:
        ExchangeError: see `Exchange.walk`.
    """
    listed = listed or Listed()
    asked = {"subaccount": str(subaccount_number), "settlement_status": "unsettled"}
    for items in exchange.walk("/portfolio/positions", asked, "market_positions"):
        page = [_position(item, subaccount_number) for item in items]
        for position in page:
            listed.note(position)
        yield [position for position in page if position is not None]


def is_restricted(error: ExchangeError) -> bool:
    """Say whether a refusal means that the key is restricted to one subaccount."""
    told = error.message.lower()
    return error.status == _FORBIDDEN and "restricted" in told and "account" in told


def is_not_to_be_had(error: ExchangeError) -> bool:
    """Return whether a refusal is of one listing only: forbidden to this key, or not there."""
    return error.status in (_FORBIDDEN, _NO_SUCH_ENDPOINT)


def _order(value: JsonValue) -> Order | None:
    if not isinstance(value, dict):
        return None
    order_id = _text(value.get("order_id"))
    ticker = _text(value.get("ticker") or value.get("market_ticker"))
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
        _updated_at(value),
    )


def _updated_at(order: Mapping[str, JsonValue]) -> datetime | None:
    """Return an order's last update; None before 2021, as Go's zero time for one never updated."""
    moment = event_time({"created_time": order.get("last_update_time")})
    return None if moment is None or moment < EARLIEST_FILL else moment


def _position(item: Item, subaccount_number: int) -> Position | None:
    value = item.value
    if not isinstance(value, dict):
        return None
    ticker, contracts = _text(value.get("ticker")), _decimal(value.get("position_fp"))
    if ticker is None or contracts is None:
        return None
    return Position(ticker, subaccount_number, contracts)


def _text(value: JsonValue) -> str | None:
    """Return a text that can be sent and stored, None where it is none: half a character is not."""
    if not isinstance(value, str) or not value:
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value


def _decimal(value: JsonValue) -> Decimal | None:
    if not isinstance(value, str | int | Decimal) or isinstance(value, bool):
        return None
    try:
        number = Decimal(value)
    except ArithmeticError:
        return None
    return number if number.is_finite() else None
