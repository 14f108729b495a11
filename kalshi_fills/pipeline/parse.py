"""One item, of any era of the exchange's API, to a `Fill` or a `Rejected`: the complete reference.

Nothing else happens here: no I/O, no clock, no settings. The rules in one place:

- the field of today wins over its legacy alias (`ticker` over `market_ticker`, `created_time`
  over `ts`, `*_dollars` over `*_fixed` over cents), but an alias that is not even of its type
  refuses the item: of a payload that is half broken nothing is guessed;
- a key whose value is null or empty is absent;
- money and quantities are decimals read from text, never floats;
- direction comes from `outcome_side`/`book_side`; `action` never changes a sign.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final, TypeVar

from kalshi_fills.pipeline.content import flag_text, flags_texts, terms_texts, time_text
from kalshi_fills.pipeline.fills import (
    BOOK_OF_OUTCOME,
    EARLIEST_FILL,
    ONE,
    OUTCOME_OF_BOOK,
    ZERO,
    Content,
    Fill,
    Reason,
    Rejected,
    fault_of_fee,
    fault_of_prices,
    fault_of_quantity,
    gate,
)
from kalshi_fills.pipeline.lookalikes import LOOKALIKES
from kalshi_fills.pipeline.values import (
    TIME_KEYS,
    JsonValue,
    event_time,
    fingerprint,
    json_decoder,
    keys_of,
    present_values,
    read_decimal,
    read_flag,
    read_instant,
    read_number,
    read_small,
    read_text,
    read_whole,
)

_ID_KEYS: Final = ("fill_id", "trade_id")

_ORDER_KEYS: Final = ("order_id", "orderId")

_TICKER_KEYS: Final = ("ticker", "market_ticker")

_QUANTITY_KEYS: Final = ("count_fp", "count")

_PRICE_TIERS: Final = (
    ("yes_price_dollars", "no_price_dollars"),
    ("yes_price_fixed", "no_price_fixed"),
    ("yes_price", "no_price"),
)

_YES_OR_NO_PRICE_KEYS: Final = tuple(key for tier in _PRICE_TIERS for key in tier)

_REQUIRED: Final = {
    Reason.NO_ORDER_ID: _ORDER_KEYS,
    Reason.NO_EVENT_TIME: TIME_KEYS,
    Reason.NO_QUANTITY: _QUANTITY_KEYS,
    Reason.NO_PRICE: (*_YES_OR_NO_PRICE_KEYS, "price"),
}
"""An item that has none of the keys of a line is no fill, for that reason."""

_ALIASES: Final = """trade_id market_ticker ts timestamp count yes_price_fixed no_price_fixed
yes_price no_price price side""".split()
"""Keys that are not read where the field of today is there, but are still checked."""

_CENT: Final = Decimal("0.01")

_LOOKALIKE_REASONS: Final = {key: Reason(name) for key, name in LOOKALIKES.items()}

T = TypeVar("T")


class _Refuse(Exception):
    """The item is refused, for a reason."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


def read_item(text: str, source: str, now: datetime) -> Fill | Rejected:
    """Return one item as a fill, or as refused at one of the stages raw, real, valid and gated.

    Args:
        text: the JSON text of the item, whatever it is.
        source: the tier it came from.
        now: the clock against which event times are gated, aware UTC.

    Returns:
        The fill, or the item with the stage and reason of its refusal. Never raises.
    """
    try:
        item = json_decoder.decode(text)
    except (ValueError, RecursionError):  # nested almost to the decoder's limit
        return Rejected(Reason.NOT_AN_OBJECT, (), text, True, None, fingerprint(text, text))
    try:
        if not isinstance(item, dict):
            raise _Refuse(Reason.NOT_AN_OBJECT)
        present = present_values(item)
        _require_real(present)
        return _normalise(present, text, source, now)
    except _Refuse as refusal:
        return _rejected(item, text, refusal.reason)


def refuse(text: str, reason: Reason) -> Rejected:
    """Return the refusal of an item that was read as a fill, for a reason that lies outside it."""
    return _rejected(json_decoder.decode(text), text, reason)


def _require_real(present: Mapping[str, JsonValue]) -> None:
    """Refuse what is no fill at all, by the marks of a look-alike first: they tell more."""
    if marks := present.keys() & _LOOKALIKE_REASONS.keys():
        # Where several reasons have equally many marks, the first one counts.
        votes = Counter(_LOOKALIKE_REASONS[mark] for mark in marks)
        raise _Refuse(max(Reason, key=votes.__getitem__))
    for reason, keys in _REQUIRED.items():
        if present.keys().isdisjoint(keys):
            raise _Refuse(reason)
    if _outcome_of_book(present.get("side")):
        raise _Refuse(Reason.LOOKS_LIKE_MARGIN_FILL)


def _normalise(present: Mapping[str, JsonValue], raw_json: str, source: str, now: datetime) -> Fill:
    order_id = _need(read_text(_first(present, _ORDER_KEYS)), Reason.ID_UNREADABLE)
    ticker = _read(read_text, _first(present, _TICKER_KEYS), Reason.TICKER_UNREADABLE) or ""
    executed_at = _need(read_instant(_first(present, TIME_KEYS)), Reason.TIME_UNREADABLE)
    read_quantity = read_decimal if "count_fp" in present else read_whole
    contracts = _need(read_quantity(_first(present, _QUANTITY_KEYS)), Reason.QUANTITY_UNREADABLE)
    outcome, inferred = _direction(present)
    yes, no = _prices(present, outcome)
    fee = _read(read_decimal, present.get("fee_cost"), Reason.FEE_UNREADABLE)
    is_taker = _read(read_flag, present.get("is_taker"), Reason.FLAG_UNREADABLE)
    number = _first(present, ("subaccount_number", "subaccount"))
    subaccount = _read(read_small, number, Reason.SUBACCOUNT_UNREADABLE)
    shard = _read(read_small, present.get("exchange_index"), Reason.SHARD_UNREADABLE)
    action = _need(read_text(present.get("action", "")), Reason.DIRECTION_UNREADABLE)
    for alias in _ALIASES:
        if alias in present:
            _check_alias(alias, present[alias])
    client_order_id = _need(read_text(present.get("client_order_id", "")), Reason.ID_UNREADABLE)
    fill_id = _read(read_text, _first(present, _ID_KEYS), Reason.ID_UNREADABLE)
    content = Content._make(
        (
            time_text(executed_at),
            fill_id
            or _synthetic_id(order_id, executed_at.isoformat(), ticker, outcome, yes, contracts),
            order_id,
            ticker,
            *terms_texts(outcome, action, yes, no),
            f"{contracts:.2f}",
            "" if fee is None else f"{fee:.6f}",
            *flags_texts(is_taker, subaccount, shard, inferred),
        )
    )
    fill = Fill(content, flag_text(fill_id is None), client_order_id, source, raw_json)
    fault = fault_of_prices(yes, no) or fault_of_quantity(contracts) or fault_of_fee(fee or ZERO)
    if reason := fault or gate(fill, now):
        raise _Refuse(reason)
    return fill


def _synthetic_id(*core: str | Decimal) -> str:
    """Return a digest of what makes a fill, however its numbers are spelled."""
    texts = [one if isinstance(one, str) else f"{one.normalize():f}" for one in core]
    return "synthetic-" + hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:32]


def _first(present: Mapping[str, JsonValue], keys: tuple[str, ...]) -> JsonValue:
    """Return the value of the first key that is there, None where none is."""
    for key in keys:
        if key in present:
            return present[key]
    return None


def _need(value: T | None, reason: Reason) -> T:
    """Return a value, or refuse the item where it is None, as nothing could be read."""
    if value is None:
        raise _Refuse(reason)
    return value


def _read(read: Callable[[JsonValue], T | None], value: JsonValue, reason: Reason) -> T | None:
    """Return a value as it is read; None where it is absent, which is no reason to refuse."""
    return None if value is None else _need(read(value), reason)


def _direction(present: Mapping[str, JsonValue]) -> tuple[str, bool]:
    """Return the outcome acquired, and whether it had to be inferred from the old `side`."""
    outcome, book = present.get("outcome_side"), present.get("book_side")
    inferred = outcome is None and book is None
    if inferred:
        outcome = present.get("side")
    acquired = _read(_outcome, outcome, Reason.DIRECTION_UNREADABLE)
    of_book = _read(_outcome_of_book, book, Reason.DIRECTION_UNREADABLE)
    if acquired and of_book and acquired != of_book:
        raise _Refuse(Reason.DIRECTION_CONTRADICTS)
    return _need(acquired or of_book, Reason.NO_DIRECTION), inferred


def _outcome(value: JsonValue) -> str | None:
    return value if type(value) is str and value in BOOK_OF_OUTCOME else None


def _outcome_of_book(value: JsonValue) -> str | None:
    return OUTCOME_OF_BOOK.get(value) if type(value) is str else None


def _prices(present: Mapping[str, JsonValue], outcome: str) -> tuple[Decimal, Decimal]:
    """Return the yes and no price in dollars, from the best pair of fields that is there."""
    for tier in _PRICE_TIERS:
        read = _cents if "yes_price" in tier else read_decimal
        yes, no = (_read(read, present.get(key), Reason.PRICE_UNREADABLE) for key in tier)
        if yes is not None and no is not None:
            if yes + no != ONE:
                raise _Refuse(Reason.PRICES_DO_NOT_ADD_UP)
            return yes, no
        if yes is not None:
            return yes, ONE - yes
        if no is not None:
            return ONE - no, no
    price = _need(_legacy_price(present["price"]), Reason.PRICE_UNREADABLE)
    return (price, ONE - price) if outcome == "yes" else (ONE - price, price)


def _legacy_price(value: JsonValue) -> Decimal | None:
    """Return the undocumented `price` in dollars: between 0 and 1, or whole cents from 1 to 99."""
    price = read_number(value)
    if price is None or ZERO < price < ONE:
        return price
    return price * _CENT if ONE <= price <= 99 and price == price.to_integral_value() else None


def _cents(value: JsonValue) -> Decimal | None:
    # A text with decimals is dollars under a key of cents, or cents finer than those of any era.
    cents = None if type(value) is str and "." in value else read_whole(value)
    return None if cents is None else cents * _CENT


def _check_alias(alias: str, value: JsonValue) -> None:
    match alias:
        case "trade_id":
            _need(read_text(value), Reason.ID_UNREADABLE)
        case "market_ticker":
            _need(read_text(value), Reason.TICKER_UNREADABLE)
        case "ts" | "timestamp":
            if _need(read_instant(value), Reason.TIME_UNREADABLE) <= EARLIEST_FILL:
                raise _Refuse(Reason.TIME_TOO_EARLY)
        case "count":
            if _need(read_whole(value), Reason.QUANTITY_UNREADABLE) < 0:
                raise _Refuse(Reason.QUANTITY_OUT_OF_RANGE)
        case "price":
            number = _need(read_number(value), Reason.PRICE_UNREADABLE)
            if type(value) is not str and not 0 <= number <= 100:
                raise _Refuse(Reason.PRICE_UNREADABLE)
        case "side":
            _need(_outcome(value), Reason.DIRECTION_UNREADABLE)
        case _:
            read = read_decimal if alias.endswith("_fixed") else read_whole
            most = ONE if alias.endswith("_fixed") else 100
            if not 0 <= _need(read(value), Reason.PRICE_UNREADABLE) <= most:
                raise _Refuse(Reason.PRICE_OUT_OF_RANGE)


def _rejected(item: JsonValue, raw_json: str, reason: Reason) -> Rejected:
    claims = isinstance(item, dict) and _claims_fill(present_values(item))
    keys, digest = keys_of(item), fingerprint(item, raw_json)
    return Rejected(reason, keys, raw_json, claims, event_time(item), digest)


def _claims_fill(present: Mapping[str, JsonValue]) -> bool:
    """Return whether a refused item may be a fill all the same, of a schema yet unknown.

    A fill identity is enough where nothing marks a look-alike. Public trades carry one, too, and
    marks. No look-alike carries an identity, an order id and a yes or no price together: an item
    with all three is a fill to which the exchange added a key that marked something else so far.
    """

    def has_one_of(*keys: str) -> bool:
        return not present.keys().isdisjoint(keys)

    if not has_one_of(*_ID_KEYS):
        return False
    if not has_one_of(*_LOOKALIKE_REASONS) and not _outcome_of_book(present.get("side")):
        return True
    return has_one_of(*_ORDER_KEYS) and has_one_of(*_YES_OR_NO_PRICE_KEYS)
