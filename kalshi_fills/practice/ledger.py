"""The practice exchange's own truth: fills, and the orders and positions that follow from them.

A fill is kept once, exactly, without regard to how any API version spells it; `payload` spells it
the way the exchange did in a given era. Orders and positions are always derived from fills, so
their counts and fees tie out by construction. Money is Decimal dollars, quantities are Decimal
contracts, instants are integer microseconds UTC. Pure: no clock, no sockets, no files.
"""

import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import Any, Literal, get_args

Era = Literal["current", "current_minimal", "transitional", "legacy", "readme"]
Eras = Era | Literal["calendar"]
Side = Literal["yes", "no"]
OrderStatus = Literal["resting", "canceled", "executed"]

ERAS: tuple[Era, ...] = get_args(Era)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US
DAY_US = 24 * HOUR_US

_ONE = Decimal(1)
_CENT = Decimal("0.01")
_TICK = Decimal("0.0001")
_MICRO_DOLLAR = Decimal("0.000001")
_USER_ID = "5f0c2e9a-7d41-4b36-9c58-e1a2740bd613"


def to_us(when: datetime) -> int:
    """Return an aware instant as microseconds since 1970.

    Raises:
        ValueError: `when` has no time zone.
    """
    if when.tzinfo is None:
        raise ValueError(f"an instant needs a time zone: {when!r}")
    return (when - EPOCH) // timedelta(microseconds=1)


@lru_cache(maxsize=4096)
def _date_text(day: int) -> str:
    return date.fromordinal(date(1970, 1, 1).toordinal() + day).isoformat()


def rfc3339(at_us: int) -> str:
    """Return a time as the exchange writes it: UTC with `Z`, no trailing zeros in the fraction."""
    seconds, micros = divmod(at_us, SECOND_US)
    day, second = divmod(seconds, 86_400)
    minute, second = divmod(second, 60)
    hour, minute = divmod(minute, 60)
    text = f"{_date_text(day)}T{hour:02d}:{minute:02d}:{second:02d}"
    return f"{text}.{micros:06d}".rstrip("0") + "Z" if micros else text + "Z"


README_ERA_ENDS_US = to_us(datetime(2025, 7, 1, tzinfo=UTC))
LEGACY_ERA_ENDS_US = to_us(datetime(2026, 1, 15, tzinfo=UTC))
TRANSITIONAL_ERA_ENDS_US = to_us(datetime(2026, 4, 2, tzinfo=UTC))
_FEES_START_US = to_us(datetime(2026, 1, 28, tzinfo=UTC))
_INTEGERS_FADE_US = to_us(datetime(2026, 3, 1, tzinfo=UTC))
_DOLLARS_START_US = to_us(datetime(2026, 3, 10, tzinfo=UTC))


def era_at(at_us: int, eras: Eras = "calendar") -> Era:
    """Return the era of a fill executed at `at_us`, or the one that `eras` forces."""
    if eras != "calendar":
        return eras
    if at_us >= TRANSITIONAL_ERA_ENDS_US:
        return "current"
    if at_us >= LEGACY_ERA_ENDS_US:
        return "transitional"
    return "legacy" if at_us >= README_ERA_ENDS_US else "readme"


def subaccounts_known_at(at_us: int, eras: Eras = "calendar") -> bool:
    """Return whether the payload of a fill of that time can name its subaccount."""
    era = era_at(at_us, eras)
    return era == "current" or (era == "transitional" and at_us >= _FEES_START_US)


def _choice(text: str, ways: int) -> int:
    """Return one of `ways` for `text`, the same in every process (unlike `hash`)."""
    return zlib.crc32(text.encode("utf-8", "surrogatepass")) % ways


@lru_cache(maxsize=65_536)
def _price_texts(yes_price: Decimal) -> tuple[str, str]:
    """Return both legs of a price as text, with four decimals at least and six where given."""
    if yes_price.as_tuple().exponent > -4:  # type: ignore[operator]  # finite, so an int
        yes_price = yes_price.quantize(_TICK)
    return format(yes_price, "f"), format(_ONE - yes_price, "f")


@lru_cache(maxsize=16_384)
def _quoted(text: str) -> str:
    return encode_basestring_ascii(text)


@dataclass(frozen=True, slots=True)
class PracticeFill:
    """One execution of one of the account's orders."""

    fill_id: str
    """Venue `fill_id` and `trade_id`, 8-4-4-4-12 hex in generated accounts."""
    order_id: str
    ticker: str
    outcome_side: Side
    """The outcome acquired: yes is a bid, no is an ask."""
    count: Decimal
    """Contracts, two decimals, above zero."""
    yes_price: Decimal
    """Dollars per contract of the yes leg, four to six decimals, strictly between 0 and 1."""
    fee: Decimal
    """Dollars charged on this fill, six decimals, never negative."""
    is_taker: bool
    subaccount: int
    """0 is the primary one."""
    exchange_index: int
    executed_at_us: int
    """Microseconds since 1970, UTC."""

    @property
    def place(self) -> tuple[int, str]:
        """The fill's place in the listing: by time, ties by id and order."""
        return self.executed_at_us, f"{self.fill_id}/{self.order_id}"

    def payload(self, era: Era) -> dict[str, Any]:
        """Return the item as a client of that era would have parsed it.

        Raises:
            ValueError: the size or price has no spelling in that era.
        """
        parsed: dict[str, Any] = json.loads(self.payload_json(era))
        return parsed

    def payload_json(self, era: Era) -> str:
        """Spell the fill as one JSON object in the shape of `era`.

        Raises:
            ValueError: the size or price has no spelling in that era (whole contracts and whole
                cents are all that the integers of `legacy` and `readme` can hold).
        """
        match era:
            case "current":
                return self._current_json()
            case "current_minimal":
                return self._minimal_json()
            case "transitional":
                return self._transitional_json()
            case "legacy" | "readme":
                return self._whole_json(era)

    @property
    def _action(self) -> str:
        # On a fill `action` says nothing about direction: no rows come as sell more often than
        # as buy. One order keeps to one spelling.
        return "buy" if self.outcome_side == "yes" or not _choice(self.order_id, 7) else "sell"

    def _current_json(self) -> str:
        yes, no = _price_texts(self.yes_price)
        fill_id, ticker, side = _quoted_id(self.fill_id), _quoted(self.ticker), self.outcome_side
        return (
            f'{{"action":"{self._action}","book_side":"{"bid" if side == "yes" else "ask"}",'
            f'"count_fp":"{self.count}","created_time":"{rfc3339(self.executed_at_us)}",'
            f'"exchange_index":{self.exchange_index},"fee_cost":"{self.fee:f}",'
            f'"fill_id":{fill_id},"is_taker":{"true" if self.is_taker else "false"},'
            f'"market_ticker":{ticker},"no_price_dollars":"{no}",'
            f'"order_id":{_quoted_id(self.order_id)},"outcome_side":"{side}","side":"{side}",'
            f'"subaccount_number":{self.subaccount},"ticker":{ticker},"trade_id":{fill_id},'
            f'"ts":{self.executed_at_us // SECOND_US},"yes_price_dollars":"{yes}"}}'
        )

    def _minimal_json(self) -> str:
        item = json.loads(self._current_json())
        for optional in ("action", "side", "subaccount_number", "ts"):
            del item[optional]
        return json.dumps(item, separators=(",", ":"))

    def _base(self) -> dict[str, Any]:
        """Return what every shape before May 2026 shares."""
        return {
            "action": self._action,
            "created_time": rfc3339(self.executed_at_us),
            "is_taker": self.is_taker,
            "order_id": self.order_id,
            "side": self.outcome_side,
            "ticker": self.ticker,
            "trade_id": self.fill_id,
        }

    def _identified(self) -> dict[str, Any]:
        """Return what the shapes from mid 2025 to April 2026 share."""
        yes, no = _price_texts(self.yes_price)
        return self._base() | {
            "client_order_id": client_order_id(self.order_id),
            "fill_id": self.fill_id,
            "market_ticker": self.ticker,
            "no_price_fixed": no,
            "ts": self.executed_at_us // SECOND_US,
            "yes_price_fixed": yes,
        }

    def _transitional_json(self) -> str:
        item = self._identified() | {"count_fp": str(self.count)}
        yes, no = _price_texts(self.yes_price)
        if self.executed_at_us >= _DOLLARS_START_US:
            item |= {"yes_price_dollars": yes, "no_price_dollars": no}
        if self.executed_at_us >= _FEES_START_US:
            item |= {"fee_cost": f"{self.fee:f}", "subaccount_number": self.subaccount}
        if self.executed_at_us >= _INTEGERS_FADE_US and _choice(self.fill_id, 2):
            return json.dumps(item | dict.fromkeys(("count", "price", "yes_price", "no_price")))
        item |= {
            "count": int(self.count),
            "yes_price": int(self.yes_price * 100),
            "no_price": int((_ONE - self.yes_price) * 100),
        }
        return self._with_number_price(item)

    def _whole_json(self, era: Era) -> str:
        if self.count % 1 or self.yes_price % _CENT:
            raise ValueError(
                f"{self.count} contracts at {self.yes_price} do not fit the {era} payload, "
                "which holds whole contracts and whole cents only"
            )
        cents = int(self.yes_price * 100)
        item = self._base() if era == "readme" else self._identified()
        item |= {"count": int(self.count), "yes_price": cents, "no_price": 100 - cents}
        return json.dumps(item) if era == "readme" else self._with_number_price(item)

    def _with_number_price(self, item: dict[str, Any]) -> str:
        """Add the old `price`, dollars of the fill's side, as a bare JSON number.

        The number is written from the decimal's digits, so that no binary fraction is involved.
        """
        leg = self.yes_price if self.outcome_side == "yes" else _ONE - self.yes_price
        return f'{json.dumps(item)[:-1]}, "price": {leg.normalize():f}}}'


def _quoted_id(text: str) -> str:
    # Ids are unique, so unlike tickers they are not worth a cache.
    return encode_basestring_ascii(text)


def client_order_id(order_id: str) -> str:
    """Return the id that the account's engine gave the order."""
    return f"mm-{order_id[:8]}"


@dataclass(frozen=True, slots=True)
class PracticeOrder:
    """One order of the account, its totals summed from its fills."""

    order_id: str
    ticker: str
    outcome_side: Side
    status: OrderStatus
    yes_price: Decimal
    """The limit in dollars of the yes leg; executions may be better."""
    initial_count: Decimal
    fill_count: Decimal
    taker_fees: Decimal
    maker_fees: Decimal
    taker_fill_cost: Decimal
    maker_fill_cost: Decimal
    subaccount: int
    exchange_index: int
    created_at_us: int
    updated_at_us: int

    @property
    def place(self) -> tuple[int, str]:
        """The order's place in the listing: by creation, ties by id."""
        return self.created_at_us, self.order_id

    @property
    def remaining_count(self) -> Decimal:
        """Contracts still in the book; a canceled order has none, whatever was left of it."""
        return self.initial_count - self.fill_count if self.status == "resting" else Decimal("0.00")

    def payload(self) -> dict[str, Any]:
        """Return the order as the API's Order object."""
        yes, no = _price_texts(self.yes_price)
        # On orders, unlike fills, the documented table holds: a no outcome is either a no
        # bought or a yes sold.
        sells = self.outcome_side == "no" and _choice(self.order_id, 2) == 0
        return {
            "action": "sell" if sells else "buy",
            "book_side": "bid" if self.outcome_side == "yes" else "ask",
            "client_order_id": client_order_id(self.order_id),
            "created_time": rfc3339(self.created_at_us),
            "exchange_index": self.exchange_index,
            "fill_count_fp": str(self.fill_count),
            "initial_count_fp": str(self.initial_count),
            "last_update_time": rfc3339(self.updated_at_us),
            "maker_fees_dollars": f"{self.maker_fees:f}",
            "maker_fill_cost_dollars": six_places(self.maker_fill_cost),
            "no_price_dollars": no,
            "order_id": self.order_id,
            "outcome_side": self.outcome_side,
            "remaining_count_fp": str(self.remaining_count),
            "self_trade_prevention_type": "taker_at_cross",
            "side": "yes" if sells else self.outcome_side,
            "status": self.status,
            "subaccount_number": self.subaccount,
            "taker_fees_dollars": f"{self.taker_fees:f}",
            "taker_fill_cost_dollars": six_places(self.taker_fill_cost),
            "ticker": self.ticker,
            "type": "limit",
            "user_id": _USER_ID,
            "yes_price_dollars": yes,
        }


def six_places(dollars: Decimal) -> str:
    """Return dollars as text with six decimals."""
    return format(dollars.quantize(_MICRO_DOLLAR, ROUND_HALF_EVEN), "f")


def orders_of(
    fills: Iterable[PracticeFill], *, may_rest: Callable[[str], bool]
) -> Iterator[PracticeOrder]:
    """Derive the order behind each group of fills that shares an order id.

    Lazy, in no promised order. What fills alone cannot tell (how much was left, when it was
    placed) follows from the order id, so that it is the same on every call. Only orders in a
    market for which `may_rest(ticker)` holds can still have contracts in the book.
    """
    by_order: dict[str, list[PracticeFill]] = {}
    for fill in fills:
        by_order.setdefault(fill.order_id, []).append(fill)
    for order_id, group in by_order.items():
        first = min(group, key=lambda fill: fill.executed_at_us)
        last_us = max(fill.executed_at_us for fill in group)
        filled = sum((fill.count for fill in group), Decimal("0.00"))
        prices = [fill.yes_price for fill in group]
        left = Decimal(1 + _choice(order_id, 40)) if _choice(order_id, 10) < 3 else Decimal(0)
        status: OrderStatus = "executed"
        if left:
            status = "resting" if may_rest(first.ticker) else "canceled"
        placed_before_us = 0 if first.is_taker else 1 + _choice(order_id, 300 * SECOND_US)
        cost = {True: Decimal(0), False: Decimal(0)}
        fees = {True: Decimal("0.000000"), False: Decimal("0.000000")}
        for fill in group:
            leg = fill.yes_price if fill.outcome_side == "yes" else _ONE - fill.yes_price
            cost[fill.is_taker] += fill.count * leg
            fees[fill.is_taker] += fill.fee
        yield PracticeOrder(
            order_id=order_id,
            ticker=first.ticker,
            outcome_side=first.outcome_side,
            status=status,
            yes_price=max(prices) if first.outcome_side == "yes" else min(prices),
            initial_count=filled + left,
            fill_count=filled,
            taker_fees=fees[True],
            maker_fees=fees[False],
            taker_fill_cost=cost[True],
            maker_fill_cost=cost[False],
            subaccount=first.subaccount,
            exchange_index=first.exchange_index,
            created_at_us=first.executed_at_us - placed_before_us,
            updated_at_us=last_us,
        )


@dataclass(slots=True)
class PracticePosition:
    """What one subaccount holds of one market, as the running sum of its fills."""

    ticker: str
    subaccount: int
    exchange_index: int
    position: Decimal = Decimal("0.00")
    """Contracts: yes above zero, no below."""
    exposure: Decimal = Decimal(0)
    """Dollars paid for the position, at average cost."""
    realized: Decimal = Decimal(0)
    traded: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    updated_at_us: int = 0

    @property
    def place(self) -> tuple[int, str]:
        """The position's place in the listing: by ticker."""
        return 0, self.ticker

    @property
    def event_ticker(self) -> str:
        """The market's event: its ticker without the last part."""
        return self.ticker.rpartition("-")[0] or self.ticker

    def book(self, fill: PracticeFill) -> None:
        """Add one fill; fills must come oldest first for the dollars to be right."""
        leg = fill.yes_price if fill.outcome_side == "yes" else _ONE - fill.yes_price
        signed = fill.count if fill.outcome_side == "yes" else -fill.count
        closed = min(fill.count, abs(self.position)) if self.position * signed < 0 else Decimal(0)
        if closed:
            basis = self.exposure * closed / abs(self.position)
            self.exposure -= basis
            self.realized += closed * (_ONE - leg) - basis
        self.exposure += (fill.count - closed) * leg
        self.position += signed
        self.traded += fill.count * fill.yes_price
        self.fees += fill.fee
        self.updated_at_us = max(self.updated_at_us, fill.executed_at_us)

    def payload(self) -> dict[str, Any]:
        """Return the position as the API's MarketPosition object."""
        return {
            "exchange_index": self.exchange_index,
            "fees_paid_dollars": six_places(self.fees),
            "last_updated_ts": rfc3339(self.updated_at_us),
            "market_exposure_dollars": six_places(self.exposure),
            "position_fp": str(self.position),
            "realized_pnl_dollars": six_places(self.realized),
            "ticker": self.ticker,
            "total_traded_dollars": six_places(self.traded),
        }


def positions_of(
    oldest_first: Iterable[PracticeFill],
) -> dict[tuple[str, int], PracticePosition]:
    """Sum fills into one position for each (ticker, subaccount)."""
    positions: dict[tuple[str, int], PracticePosition] = {}
    for fill in oldest_first:
        key = fill.ticker, fill.subaccount
        if key not in positions:
            positions[key] = PracticePosition(*key, exchange_index=fill.exchange_index)
        positions[key].book(fill)
    return positions


def event_positions(rows: Iterable[PracticePosition]) -> list[dict[str, Any]]:
    """Sum market positions by event."""
    sums: dict[str, list[Decimal]] = {}
    for row in rows:
        held = abs(row.position)
        parts = (row.exposure, row.fees, row.realized, held)
        sums[row.event_ticker] = [
            total + part
            for total, part in zip(sums.get(row.event_ticker, [Decimal(0)] * 4), parts, strict=True)
        ]
    return [
        {
            "event_exposure_dollars": six_places(exposure),
            "event_ticker": event_ticker,
            "fees_paid_dollars": six_places(fees),
            "realized_pnl_dollars": six_places(realized),
            "total_cost_dollars": six_places(exposure),
            "total_cost_shares_fp": format(held.quantize(Decimal("0.01")), "f"),
        }
        for event_ticker, (exposure, fees, realized, held) in sums.items()
    ]
