"""Every endpoint of the API that is used, in one place, on top of a client."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, TypeVar

from kalshi_fills.errors import ExchangeError
from kalshi_fills.exchange.ahead import Ahead, read_ahead
from kalshi_fills.exchange.client import Client
from kalshi_fills.exchange.decode import (
    HISTORICAL,
    LIVE,
    Page,
    decode_listing,
)
from kalshi_fills.exchange.pacing import Limits
from kalshi_fills.exchange.paging import Walk
from kalshi_fills.exchange.records import Order, Position, read_order, read_position
from kalshi_fills.pipeline.fills import EARLIEST_FILL
from kalshi_fills.pipeline.values import JsonValue, decode_item, event_time, json_decoder
from kalshi_fills.pipeline.window import Window

log = logging.getLogger(__name__)


FILLS_PATHS: Final = {LIVE: "/portfolio/fills", HISTORICAL: "/historical/fills"}
"""Where each tier's fills are listed."""

_ORDERS_PATHS: Final = ("/portfolio/orders", "/historical/orders")

_FORBIDDEN: Final = 403

_NO_SUCH_ENDPOINT: Final = 404

_NOT_FOR_ALL: Final = (_FORBIDDEN, _NO_SUCH_ENDPOINT)
"""How an endpoint is refused that not every era, or not every key, has."""

_LARGEST_NUMBER: Final = 10**9

_EARLIEST_CUTOFF: Final = datetime(1971, 1, 1, tzinfo=UTC)


T = TypeVar("T")


class Exchange(Client):
    """One account's view of the exchange."""

    _limits_ahead: Ahead[None] | None = None
    _as_of_ahead: Ahead[datetime | None] | None = None
    _cutoff_ahead: Ahead[datetime | None] | None = None

    def ask_ahead(self) -> None:
        """Begin to ask what a pass needs first, all of it in one round trip.

        That is what `learn_limits` is about, and what `as_of` and `cutoff` return first.
        """
        self._as_of_ahead = Ahead(self._ask_as_of)
        self._cutoff_ahead = Ahead(self._ask_cutoff)
        costs = Ahead(self._ask_costs)
        self._limits_ahead = Ahead(lambda attempts: self.pace.use(self._limits(costs, attempts)))

    def learn_limits(self) -> None:
        """Read the account's own limits and keep to them; to the Basic tier's if it has none.

        Raises:
            ExchangeError: unreachable, or the key is refused.
        """
        if self._limits_ahead is None:
            self.ask_ahead()
        assert self._limits_ahead is not None
        self._limits_ahead.result()

    def _limits(
        self, costs_ahead: Ahead[dict[str, JsonValue] | None], attempts: int | None
    ) -> Limits:
        limits = Limits()
        path = "/account/limits"
        account = self._get_optional(path, {}, _object, _NOT_FOR_ALL, attempts)
        read = account.get("read") if account is not None else None
        if isinstance(read, dict):
            limits = limits._replace(
                refill_rate=_positive(read.get("refill_rate"), limits.refill_rate),
                bucket_capacity=_positive(read.get("bucket_capacity"), limits.bucket_capacity),
            )
        prices = None
        if account is not None:
            prices = costs_ahead.result(attempts)
        if prices is None:
            log.debug("limits_not_told", extra={"fields": {"refill_rate": limits.refill_rate}})
            return limits
        default = _positive(prices.get("default_cost"), limits.default_cost)
        costs = {
            str(entry.get("path")): _positive(entry.get("cost"), default)
            for entry in _list(prices.get("endpoint_costs"))
            if isinstance(entry, dict) and entry.get("method") == "GET"
        }
        return limits._replace(default_cost=default, costs=costs)

    def _ask_costs(self, attempts: int | None = None) -> dict[str, JsonValue] | None:
        path = "/account/endpoint_costs"
        return self._get_optional(path, {}, _object, _NOT_FOR_ALL, attempts)

    def as_of(self) -> datetime | None:
        """Return the time up to which the account's data are known to be current.

        None where that is not known; a time before the exchange opened means nothing.
        """
        ahead, self._as_of_ahead = self._as_of_ahead, None
        return self._ask_as_of() if ahead is None else ahead.result()

    def _ask_as_of(self, attempts: int | None = None) -> datetime | None:
        path = "/exchange/user_data_timestamp"
        reported = self._get_optional(path, {}, json_decoder.decode, _NOT_FOR_ALL, attempts)
        moment = _time(reported.get("as_of_time")) if isinstance(reported, dict) else None
        return None if moment is None or moment < EARLIEST_FILL else moment

    def cutoff(self, attempts: int | None = None) -> datetime | None:
        """Return the time before which fills are in the historical tier only.

        None if the exchange reports none, as in its earlier eras; see `has_history`.
        """
        ahead, self._cutoff_ahead = self._cutoff_ahead, None
        return self._ask_cutoff(attempts) if ahead is None else ahead.result(attempts)

    def _ask_cutoff(self, attempts: int | None = None) -> datetime | None:
        absent = (_NO_SUCH_ENDPOINT,)
        reported = self._get_optional("/historical/cutoff", {}, _object, absent, attempts)
        if reported is None:
            return None
        cutoff = _time(reported.get("trades_created_ts"))
        if cutoff is None:
            raise ExchangeError(
                "the exchange's historical cutoff carries no trades_created_ts",
                hint="run the same command again; if it stays, upgrade kalshi-fills",
            )
        return max(cutoff, _EARLIEST_CUTOFF)

    def has_history(self) -> bool:
        """Return whether there is a historical tier at all, by asking it for one fill."""
        path = FILLS_PATHS[HISTORICAL]
        if self._get_optional(path, {"limit": "1"}, _object, (_NO_SUCH_ENDPOINT,)) is not None:
            return True
        log.warning("no_historical_tier", extra={"fields": {"api_url": self.root}})
        return False

    def has_any_fill(self, not_in: Window) -> bool:
        """Return whether the live listing, asked without times for one item, has one.

        An archive that answers proves nothing of the live listing.

        Args:
            not_in: a window that was listed as empty: an item that lies in it is a contradiction.

        Raises:
            ExchangeError: unreachable or refused within the budget.
        """
        items, _ = self.get(
            FILLS_PATHS[LIVE], {"limit": "1"}, lambda text: decode_listing(text, "fills")
        )
        moments = [event_time(decode_item(item)) for item in items[:1]]
        return any(moment is None or not not_in.holds(moment) for moment in moments)

    def fills_pages(self, tier: str, start: int | None, end: int) -> Iterator[Page]:
        """Yield the pages of one tier between two seconds.

        Raises:
            ExchangeError: see `walk`.
        """
        # Whether the exchange's bounds are inclusive is not documented: ask a second wider.
        filters = {"max_ts": str(end + 1)}
        if start is not None:
            filters["min_ts"] = str(start - 1)
        for items in self.walk(FILLS_PATHS[tier], filters, "fills"):
            yield Page(tier, items)

    def walk(self, path: str, params: Mapping[str, str], name: str) -> Iterator[list[str]]:
        """Yield the items of every page of a listing, as texts, until an empty cursor.

        Args:
            path: endpoint below the API's root.
            params: filters; the same ones go with every page.
            name: the key of the list in the answer.

        Raises:
            ExchangeError: unreachable or refused within the budget, a cursor that comes back, or
                more than 20 pages in a row with nothing new.
        """
        walk = Walk(params, name)
        while not walk.is_over:
            items, following = self.get(path, walk.query(), walk.decode)
            walk.take(items, following)
            yield items

    def _get_optional(
        self,
        path: str,
        params: Mapping[str, str],
        decode: Callable[[str], T],
        absent: Collection[int],
        attempts: int | None = None,
    ) -> T | None:
        """Return one answer; None if it is refused with a status that means there is none."""
        try:
            return self.get(path, params, decode, attempts=attempts)
        except ExchangeError as error:
            if error.status in absent:
                return None
            raise


@dataclass(slots=True)
class Listed:
    """How far a listing of orders or positions could be read."""

    items: int = 0
    unreadable: int = 0
    """Items without what is compared: the exchange may have renamed a key."""
    no_archive: bool = False
    """The exchange has no archive of them."""

    def note(self, read: Sequence[object]) -> None:
        """Count the items of a page, None where one could not be read."""
        self.items += len(read)
        self.unreadable += read.count(None)


def orders(
    exchange: Exchange, window: Window, ticker: str | None = None, listed: Listed | None = None
) -> Iterator[list[Order]]:
    """Yield the orders created in a window that were filled at all, page by page, both tiers.

    An order may come twice, from both tiers. With a ticker, only the orders in that market.
    How far they could be read is counted in `listed`.

    Raises:
        ExchangeError: see `Exchange.walk`.
    """
    filters = {"max_ts": str(int(window.end.timestamp()) + 1)}
    if window.start is not None:
        filters["min_ts"] = str(int(window.start.timestamp()) - 1)
    if ticker is not None:
        filters["ticker"] = ticker
    listed = listed or Listed()
    for path in _ORDERS_PATHS:
        try:
            for items in read_ahead(exchange.walk(path, filters, "orders")):
                page = [read_order(item) for item in items]
                listed.note(page)
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

    How far they could be read is counted in `listed`.

    Raises:
        ExchangeError: see `Exchange.walk`.
    """
    listed = listed or Listed()
    filters = {"subaccount": str(subaccount_number), "settlement_status": "unsettled"}
    for items in exchange.walk("/portfolio/positions", filters, "market_positions"):
        page = [read_position(item, subaccount_number) for item in items]
        listed.note(page)
        yield [position for position in page if position is not None]


def settlements(
    exchange: Exchange,
    subaccount_number: int,
    since: datetime | None,
    until: datetime | None = None,
    ticker: str | None = None,
) -> Iterator[list[str]]:
    """Yield the items of a subaccount's list of settlements, page by page.

    Args:
        exchange: the account.
        subaccount_number: whose; the exchange's rows do not name it.
        since: the time of the earliest settlement to list; None lists all there are.
        until: the time before which they are; None lists up to now.
        ticker: of one market only.

    Raises:
        ExchangeError: see `Exchange.walk`.
    """
    filters = {"subaccount": str(subaccount_number)}
    if since is not None:
        filters["min_ts"] = str(int(since.timestamp()) - 1)
    if until is not None:
        filters["max_ts"] = str(int(until.timestamp()) + 1)
    if ticker is not None:
        filters["ticker"] = ticker
    yield from exchange.walk("/portfolio/settlements", filters, "settlements")


def is_restricted(error: ExchangeError) -> bool:
    """Return whether a refusal means that the key is restricted to one subaccount."""
    message = error.message.lower()
    return error.status == _FORBIDDEN and "restricted" in message and "account" in message


def is_not_to_be_had(error: ExchangeError) -> bool:
    """Return whether a refusal is of one listing only: forbidden to this key, or not there."""
    return error.status in (_FORBIDDEN, _NO_SUCH_ENDPOINT)


def _object(text: str) -> dict[str, JsonValue]:
    value = json_decoder.decode(text)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def _positive(value: JsonValue, default: int) -> int:
    """Return a number above zero, never beyond all bounds; the default for anything else."""
    if type(value) is int and value > 0:
        return min(value, _LARGEST_NUMBER)
    if isinstance(value, Decimal) and value.is_finite() and value >= 1:
        return int(min(value, Decimal(_LARGEST_NUMBER)))
    return default


def _time(value: JsonValue) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None
