"""What a fill is, in every era of the exchange's API.

One item of JSON goes in; a `Fill` or a `Rejected` with its stage and reason comes out. Nothing
else happens here: no I/O, no clock, no settings. The rules in one place:

- the canonical field wins over its older twin (`ticker` over `market_ticker`, `created_time`
  over `ts`, `*_dollars` over `*_fixed` over cents), but a twin that is not even of its type
  condemns the item: half-broken payloads are not guessed at;
- a key whose value is null or empty is absent;
- money and quantities are decimals read from text, never floats;
- direction comes from `outcome_side`/`book_side`; `action` never changes a sign.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Final

import xxhash

from kalshi_fills.pipeline.fills import (
    BOOK_OF_OUTCOME,
    EARLIEST_FILL,
    MAX_CONTRACTS,
    ONE,
    OUTCOME_OF_BOOK,
    ZERO,
    Fill,
    JsonValue,
    Reason,
    Rejected,
    gate,
)

_LOOKALIKES: Final[Mapping[str, Reason]] = {
    **dict.fromkeys(
        """status initial_count_fp remaining_count_fp fill_count_fp initial_count remaining_count
        fill_count average_fill_price average_fee_paid user_id order_group_id last_update_time
        self_trade_prevention_type taker_fill_cost_dollars maker_fill_cost_dollars
        taker_fees_dollars maker_fees_dollars expiration_time is_yes""".split(),
        Reason.LOOKS_LIKE_ORDER,
    ),
    **dict.fromkeys(
        """taker_side taker_outcome_side taker_book_side is_block_trade maker_order_id
        taker_order_id maker_subtrader_id taker_subtrader_id""".split(),
        Reason.LOOKS_LIKE_TRADE,
    ),
    **dict.fromkeys(
        """rfq_id rfq_creator_id creator_id creator_order_id rfq_creator_order_id contracts_fp
        accepted_side target_cost_dollars centicount price_centi_cents
        buyer_order_id seller_order_id maker_side""".split(),
        Reason.LOOKS_LIKE_QUOTE,
    ),
    **dict.fromkeys(
        """market_result settled_time revenue yes_count_fp no_count_fp yes_total_cost_dollars
        no_total_cost_dollars""".split(),
        Reason.LOOKS_LIKE_SETTLEMENT,
    ),
    **dict.fromkeys(
        "entry_price order_source realized_pnl fees".split(), Reason.LOOKS_LIKE_MARGIN_FILL
    ),
    **dict.fromkeys(
        """position_fp position market_exposure_dollars realized_pnl_dollars fees_paid_dollars
        total_traded_dollars""".split(),
        Reason.LOOKS_LIKE_POSITION,
    ),
    **dict.fromkeys("amount_cents fee_cents finalized_ts".split(), Reason.LOOKS_LIKE_TRANSFER),
    **dict.fromkeys(
        """yes_bid yes_ask no_bid no_ask yes_bid_dollars yes_ask_dollars no_bid_dollars
        no_ask_dollars last_price last_price_dollars volume volume_fp volume_24h open_interest
        open_interest_fp open_time close_time liquidity""".split(),
        Reason.LOOKS_LIKE_MARKET,
    ),
}

_LOOKALIKE_KEYS: Final = _LOOKALIKES.keys()

_PRECEDENCE: Final = list(Reason)

_MARGIN_SIDES: Final = frozenset(("bid", "ask"))

_TIME_KEYS: Final = ("created_time", "ts", "timestamp")

_PRICE_TIERS: Final = (
    ("yes_price_dollars", "no_price_dollars"),
    ("yes_price_fixed", "no_price_fixed"),
    ("yes_price", "no_price"),
)

_YES_OR_NO_PRICE_KEYS: Final = frozenset(key for tier in _PRICE_TIERS for key in tier)

_PRICE_KEYS: Final = _YES_OR_NO_PRICE_KEYS | {"price"}

_DECIMAL: Final = re.compile(r"-?[0-9]{1,16}(?:\.[0-9]{1,18})?", re.ASCII).fullmatch

_GOOD_CONTRACTS: Final = re.compile(r"[0-9]{1,16}(?:\.[0-9]{1,2})?", re.ASCII).fullmatch

_GOOD_FEE: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,6})?", re.ASCII).fullmatch

_INSTANT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt](?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
    r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
).fullmatch

_CENT: Final = Decimal("0.01")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_EARLIEST_SECONDS: Final = int(EARLIEST_FILL.timestamp())

_EPOCH_SECONDS_END: Final = 100_000_000_000

_EPOCH_MILLISECONDS_END: Final = 100_000_000_000_000


class _Refuse(Exception):
    """Carries a reason from deep inside a reading function to `read_item`."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


def read_item(item: JsonValue, raw_json: str, source: str, now: datetime) -> Fill | Rejected:
    """Take one item through the stages raw, real, valid and gated.

    Args:
        item: the decoded item, whatever it is.
        raw_json: the text it was decoded from; kept, not read.
        source: the tier it came from.
        now: the clock against which event times are gated, aware UTC.

    Returns:
        The fill, or the item with the stage and reason of its refusal. Never raises.
    """
    try:
        if not isinstance(item, dict):
            raise _Refuse(Reason.NOT_AN_OBJECT)
        given = _given(item)
        _require_real(given)
        fill = _normalise(given, raw_json, source)
    except _Refuse as refusal:
        return _rejected(item, raw_json, refusal.reason)
    reason = gate(fill, now)
    return fill if reason is None else _rejected(item, raw_json, reason)


@lru_cache(1 << 14)
def good_contracts(text: str) -> Decimal | None:
    """Read a `count_fp` that passes the gate for certain; None where `read_item` must look."""
    return (Decimal(text) or None) if _GOOD_CONTRACTS(text) else None


@lru_cache(1 << 14)
def good_fee(text: str) -> Decimal | None:
    """Read a `fee_cost` that passes the gate for certain; None where `read_item` must look."""
    return Decimal(text) if _GOOD_FEE(text) else None


def good_instant(text: str) -> datetime | None:
    """Read a `created_time`; None where `read_item` must look."""
    try:
        return _instant(text)
    except _Refuse:
        return None


def refuse(item: JsonValue, raw_json: str, reason: Reason) -> Rejected:
    """Return an item as refused for a reason that lies outside the item itself."""
    return _rejected(item, raw_json, reason)


def event_time(item: JsonValue) -> datetime | None:
    """Give the event time of an item, where one can be read, however broken the rest is."""
    return _readable_time(_given(item)) if isinstance(item, dict) else None


def _given(item: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    # Most items have no empty value at all, and finding that out is cheaper than a copy.
    if not _has_empty(item):
        return item
    return {key: value for key, value in item.items() if not _is_empty(value)}


def _has_empty(item: Mapping[str, JsonValue]) -> bool:
    for value in item.values():  # noqa: SIM110 - the hottest loop: a generator costs more
        if not value and _is_empty(value):
            return True
    return False


def _is_empty(value: JsonValue) -> bool:
    return value is None or value == "" or value == [] or value == {}


def _require_real(given: Mapping[str, JsonValue]) -> None:
    """Refuse what is no fill at all; the marks of look-alikes first, they say more."""
    marks = given.keys() & _LOOKALIKE_KEYS
    if marks:
        raise _Refuse(_most_telling(marks))
    if "order_id" not in given and "orderId" not in given:
        raise _Refuse(Reason.NO_ORDER_ID)
    if "created_time" not in given and "ts" not in given and "timestamp" not in given:
        raise _Refuse(Reason.NO_EVENT_TIME)
    if "count_fp" not in given and "count" not in given:
        raise _Refuse(Reason.NO_QUANTITY)
    if given.keys().isdisjoint(_PRICE_KEYS):
        raise _Refuse(Reason.NO_PRICE)
    if _has_margin_side(given):
        raise _Refuse(Reason.LOOKS_LIKE_MARGIN_FILL)


def _has_margin_side(given: Mapping[str, JsonValue]) -> bool:
    side = given.get("side")
    return type(side) is str and side in _MARGIN_SIDES


def _most_telling(marks: set[str]) -> Reason:
    """Name the look-alike most of the marks belong to; of equals, the first of `Reason`."""
    votes: dict[Reason, int] = {}
    for mark in marks:
        votes[_LOOKALIKES[mark]] = votes.get(_LOOKALIKES[mark], 0) + 1
    return max(votes, key=lambda reason: (votes[reason], -_PRECEDENCE.index(reason)))


def _normalise(given: Mapping[str, JsonValue], raw_json: str, source: str) -> Fill:
    order_id = _text(given.get("order_id", given.get("orderId")), Reason.ID_UNREADABLE)
    ticker = _text(given.get("ticker", given.get("market_ticker", "")), Reason.TICKER_UNREADABLE)
    executed_at = next(_instant(given[key]) for key in _TIME_KEYS if key in given)
    contracts = (
        _decimal(given["count_fp"], Reason.QUANTITY_UNREADABLE)
        if "count_fp" in given
        else _whole(given["count"], Reason.QUANTITY_UNREADABLE)
    )
    outcome, inferred = _direction(given)
    yes, no = _prices(given, outcome)
    fee = given.get("fee_cost")
    fee_dollars = None if fee is None else _decimal(fee, Reason.FEE_UNREADABLE)
    is_taker = given.get("is_taker")
    if is_taker is not None and type(is_taker) is not bool:
        raise _Refuse(Reason.FLAG_UNREADABLE)
    subaccount = _small(
        given.get("subaccount_number", given.get("subaccount")), Reason.SUBACCOUNT_UNREADABLE
    )
    shard = _small(given.get("exchange_index"), Reason.SHARD_UNREADABLE)
    action = given.get("action", "")
    if type(action) is not str:
        raise _Refuse(Reason.DIRECTION_UNREADABLE)
    action = _text(action, Reason.DIRECTION_UNREADABLE)
    client_order_id = ""
    for twin, check in _TWIN_TYPES.items():
        if twin in given:
            check(given[twin])
    if "client_order_id" in given:
        client_order_id = str(given["client_order_id"])
    identity = given.get("fill_id", given.get("trade_id"))
    if identity is None:
        numbers = (f"{yes.normalize():f}", f"{contracts.normalize():f}")  # however spelled
        core = (order_id, executed_at.isoformat(), ticker, outcome, *numbers)
        fill_id = "synthetic-" + hashlib.sha256(json.dumps(core).encode()).hexdigest()[:32]
    else:
        fill_id = _text(identity, Reason.ID_UNREADABLE)
    return Fill(
        executed_at,
        fill_id,
        order_id,
        ticker,
        outcome,
        action,
        yes,
        no,
        contracts,
        fee_dollars,
        is_taker,
        subaccount,
        shard,
        inferred,
        identity is None,
        client_order_id,
        source,
        raw_json,
    )


def _direction(given: Mapping[str, JsonValue]) -> tuple[str, bool]:
    """Give the outcome acquired, and whether it had to be inferred from the old `side`."""
    outcome, book = given.get("outcome_side"), given.get("book_side")
    if outcome is None and book is None:
        side = given.get("side")
        if side is None:
            raise _Refuse(Reason.NO_DIRECTION)
        if type(side) is not str or side not in BOOK_OF_OUTCOME:
            raise _Refuse(Reason.DIRECTION_UNREADABLE)
        return side, True
    if outcome is not None and (type(outcome) is not str or outcome not in BOOK_OF_OUTCOME):
        raise _Refuse(Reason.DIRECTION_UNREADABLE)
    if book is not None:
        if type(book) is not str or book not in OUTCOME_OF_BOOK:
            raise _Refuse(Reason.DIRECTION_UNREADABLE)
        if outcome is not None and OUTCOME_OF_BOOK[book] != outcome:
            raise _Refuse(Reason.DIRECTION_CONTRADICTS)
        return OUTCOME_OF_BOOK[book], False
    assert isinstance(outcome, str)
    return outcome, False


def _prices(given: Mapping[str, JsonValue], outcome: str) -> tuple[Decimal, Decimal]:
    """Give the yes and no price in dollars, from the best pair of fields that is there."""
    for yes_key, no_key in _PRICE_TIERS:
        yes_value, no_value = given.get(yes_key), given.get(no_key)
        if yes_value is None and no_value is None:
            continue
        read = _cents if yes_key == "yes_price" else _dollars
        yes = None if yes_value is None else read(yes_value)
        no = None if no_value is None else read(no_value)
        if yes is None:
            assert no is not None
            return ONE - no, no
        if no is None:
            return yes, ONE - yes
        if yes + no != ONE:
            raise _Refuse(Reason.PRICES_DO_NOT_ADD_UP)
        return yes, no
    price = _legacy_price(given["price"])
    return (price, ONE - price) if outcome == "yes" else (ONE - price, price)


def _legacy_price(value: JsonValue) -> Decimal:
    """Read the undocumented `price`: between 0 and 1 dollars, a whole number 1 to 99 cents."""
    if type(value) is int:
        price = Decimal(value) if 0 < value < 100 else ZERO
    elif type(value) is Decimal and value.is_finite() and value.adjusted() < 3:
        price = value
    elif type(value) is str and _DECIMAL(value):
        price = Decimal(value)
    else:
        raise _Refuse(Reason.PRICE_UNREADABLE)
    if ZERO < price < ONE:
        return price
    if ONE <= price <= 99 and price == price.to_integral_value():
        return price * _CENT
    raise _Refuse(Reason.PRICE_UNREADABLE)


def _dollars(value: JsonValue) -> Decimal:
    return _decimal(value, Reason.PRICE_UNREADABLE)


def _cents(value: JsonValue) -> Decimal:
    # A text with decimals is dollars under a key of cents, or cents finer than any era sent.
    if type(value) is str and "." in value:
        raise _Refuse(Reason.PRICE_UNREADABLE)
    return _whole(value, Reason.PRICE_UNREADABLE) * _CENT


def _decimal(value: JsonValue, reason: Reason) -> Decimal:
    if type(value) is str and len(value) <= 36:
        read = _read_decimal(value)
        if read is not None:
            return read
    raise _Refuse(reason)


@lru_cache(1 << 14)
def _read_decimal(text: str) -> Decimal | None:
    # Prices and quantities are few texts again and again.
    if not _DECIMAL(text):
        return None
    read = Decimal(text)
    return read or abs(read)  # no table keeps the sign of nothing


def _whole(value: JsonValue, reason: Reason) -> Decimal:
    if type(value) is int and -MAX_CONTRACTS < value < MAX_CONTRACTS:
        return Decimal(value)
    if type(value) is str:
        return _decimal(value, reason)
    raise _Refuse(reason)


def _small(value: JsonValue, reason: Reason) -> int | None:
    if value is None:
        return None
    if type(value) is int and 0 <= value <= 255:
        return value
    raise _Refuse(reason)


def _text(value: JsonValue, reason: Reason) -> str:
    if type(value) is not str:
        raise _Refuse(reason)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:  # a lone surrogate: no text a table can hold
            raise _Refuse(reason) from None
    return value


def _instant(value: JsonValue) -> datetime:
    """Read RFC 3339 with a zone, or epoch seconds or milliseconds, as aware UTC."""
    if type(value) is str and len(value) <= 40 and _INSTANT(value):
        try:
            moment = datetime.fromisoformat(value.upper())
            return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
        except (ValueError, OverflowError):  # the 31st of February, or year 0
            raise _Refuse(Reason.TIME_UNREADABLE) from None
    if type(value) is int and 0 < value < _EPOCH_SECONDS_END:
        return _EPOCH + timedelta(seconds=value)
    if type(value) is int and _EPOCH_SECONDS_END <= value < _EPOCH_MILLISECONDS_END:
        return _EPOCH + timedelta(milliseconds=value)
    raise _Refuse(Reason.TIME_UNREADABLE)


def _twin_count(value: JsonValue) -> None:
    if _whole(value, Reason.QUANTITY_UNREADABLE) < 0:
        raise _Refuse(Reason.QUANTITY_OUT_OF_RANGE)


def _twin_dollars(value: JsonValue) -> None:
    if not ZERO <= _dollars(value) <= ONE:
        raise _Refuse(Reason.PRICE_OUT_OF_RANGE)


def _twin_cents(value: JsonValue) -> None:
    if not ZERO <= _whole(value, Reason.PRICE_UNREADABLE) * _CENT <= ONE:
        raise _Refuse(Reason.PRICE_OUT_OF_RANGE)


def _twin_price(value: JsonValue) -> None:
    if type(value) is bool or not (
        (type(value) is int and 0 <= value <= 100)
        or (type(value) is Decimal and value.is_finite() and ZERO <= value <= 100)
        or (type(value) is str and _DECIMAL(value))
    ):
        raise _Refuse(Reason.PRICE_UNREADABLE)


def _twin_time(value: JsonValue) -> None:
    if type(value) is int and _EARLIEST_SECONDS < value < _EPOCH_SECONDS_END:
        return
    if _instant(value) <= EARLIEST_FILL:
        raise _Refuse(Reason.TIME_TOO_EARLY)


def _twin_id(value: JsonValue) -> None:
    _text(value, Reason.ID_UNREADABLE)


def _twin_ticker(value: JsonValue) -> None:
    _text(value, Reason.TICKER_UNREADABLE)


def _twin_side(value: JsonValue) -> None:
    if type(value) is not str or value not in BOOK_OF_OUTCOME:
        raise _Refuse(Reason.DIRECTION_UNREADABLE)


_TWIN_TYPES: Final[Mapping[str, Callable[[JsonValue], None]]] = {
    "trade_id": _twin_id,
    "market_ticker": _twin_ticker,
    "ts": _twin_time,
    "timestamp": _twin_time,
    "count": _twin_count,
    "yes_price_fixed": _twin_dollars,
    "no_price_fixed": _twin_dollars,
    "yes_price": _twin_cents,
    "no_price": _twin_cents,
    "price": _twin_price,
    "side": _twin_side,
    "client_order_id": _twin_id,
}
"""Older twins of canonical fields: not read where the canonical one is there, but still typed."""


def _rejected(item: JsonValue, raw_json: str, reason: Reason) -> Rejected:
    keys: tuple[str, ...] = ()
    claims, executed_at = False, None
    if isinstance(item, dict):
        keys = tuple(key.encode(errors="backslashreplace").decode() for key in item)
        given = _given(item)
        claims = _claims_fill(given)
        executed_at = _readable_time(given)
    return Rejected(reason, keys, raw_json, claims, executed_at, _fingerprint(item, raw_json))


def _claims_fill(given: Mapping[str, JsonValue]) -> bool:
    """Return whether a refused item may be a fill all the same: one of a schema yet unknown.

    A fill identity is enough where nothing marks another object. Trades carry one, too, and marks;
    none of the marked objects carries an identity, an order id and a yes or no price together, so
    an item with all three is a fill to which the exchange added a key of such a name.
    """
    if "fill_id" not in given and "trade_id" not in given:
        return False
    if given.keys().isdisjoint(_LOOKALIKE_KEYS) and not _has_margin_side(given):
        return True
    return ("order_id" in given or "orderId" in given) and not given.keys().isdisjoint(
        _YES_OR_NO_PRICE_KEYS
    )


def _readable_time(given: Mapping[str, JsonValue]) -> datetime | None:
    for key in _TIME_KEYS:
        if key in given:
            try:
                return _instant(given[key])
            except _Refuse:
                continue
    return None


def _fingerprint(item: JsonValue, raw_json: str) -> str:
    try:
        canonical = json.dumps(item, sort_keys=True, default=lambda number: {"number": str(number)})
    except RecursionError:  # nested almost to the decoder's limit: the text itself must do
        canonical = raw_json
    return xxhash.xxh3_128_hexdigest(canonical.encode(errors="surrogatepass"))
