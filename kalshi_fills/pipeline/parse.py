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
from typing import Final

from kalshi_fills.pipeline.fills import (
    BOOK_OF_OUTCOME,
    EARLIEST_FILL,
    ONE,
    OUTCOME_OF_BOOK,
    ZERO,
    Fill,
    Reason,
    Rejected,
    gate,
)
from kalshi_fills.pipeline.items import fingerprint, keys_of
from kalshi_fills.pipeline.lookalikes import LOOKALIKES
from kalshi_fills.pipeline.values import (
    EPOCH_SECONDS_END,
    JsonValue,
    json_decoder,
    read_decimal,
    read_instant,
    read_small,
    read_text,
    read_whole,
)

_LOOKALIKE_REASONS: Final = {key: Reason(name) for key, name in LOOKALIKES.items()}

_LOOKALIKE_KEYS: Final = _LOOKALIKE_REASONS.keys()

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

_CENT: Final = Decimal("0.01")

_EARLIEST_SECONDS: Final = int(EARLIEST_FILL.timestamp())


class _Refuse(Exception):
    """The item is refused, for a reason."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


def read_item(item: JsonValue, raw_json: str, source: str, now: datetime) -> Fill | Rejected:
    """Return one item as a fill, or as refused at one of the stages raw, real, valid and gated.

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
        present = _present(item)
        _require_real(present)
        fill = _normalise(present, raw_json, source)
    except _Refuse as refusal:
        return _rejected(item, raw_json, refusal.reason)
    reason = gate(fill, now)
    return fill if reason is None else _rejected(item, raw_json, reason)


def read_text_item(text: str, source: str, now: datetime) -> Fill | Rejected:
    """Return what `read_item` returns for an item that is still text."""
    try:
        item = json_decoder.decode(text)
    except (ValueError, RecursionError):  # nested almost to the decoder's limit
        return Rejected(Reason.NOT_AN_OBJECT, (), text, True, None, fingerprint(text, text))
    return read_item(item, text, source, now)


def refuse(item: JsonValue, raw_json: str, reason: Reason) -> Rejected:
    """Return an item as refused for a reason that lies outside the item itself."""
    return _rejected(item, raw_json, reason)


def event_time(item: JsonValue) -> datetime | None:
    """Return the event time of an item, where one can be read, however broken the rest is."""
    return _readable_time(_present(item)) if isinstance(item, dict) else None


def _present(item: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
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


def _require_real(present: Mapping[str, JsonValue]) -> None:
    """Refuse what is no fill at all, by the marks of a look-alike first: they tell more."""
    marks = present.keys() & _LOOKALIKE_KEYS
    if marks:
        raise _Refuse(_likeliest_lookalike(marks))
    if "order_id" not in present and "orderId" not in present:
        raise _Refuse(Reason.NO_ORDER_ID)
    if "created_time" not in present and "ts" not in present and "timestamp" not in present:
        raise _Refuse(Reason.NO_EVENT_TIME)
    if "count_fp" not in present and "count" not in present:
        raise _Refuse(Reason.NO_QUANTITY)
    if present.keys().isdisjoint(_PRICE_KEYS):
        raise _Refuse(Reason.NO_PRICE)
    if _has_margin_side(present):
        raise _Refuse(Reason.LOOKS_LIKE_MARGIN_FILL)


def _has_margin_side(present: Mapping[str, JsonValue]) -> bool:
    side = present.get("side")
    return type(side) is str and side in _MARGIN_SIDES


def _likeliest_lookalike(marks: set[str]) -> Reason:
    """Return the reason that most of the marks stand for; of equals, the first of `Reason`."""
    votes = Counter(_LOOKALIKE_REASONS[mark] for mark in marks)
    return max(votes, key=lambda reason: (votes[reason], -_PRECEDENCE.index(reason)))


def _normalise(present: Mapping[str, JsonValue], raw_json: str, source: str) -> Fill:
    order_id = _text(present.get("order_id", present.get("orderId")), Reason.ID_UNREADABLE)
    ticker = _text(
        present.get("ticker", present.get("market_ticker", "")), Reason.TICKER_UNREADABLE
    )
    executed_at = next(_instant(present[key]) for key in _TIME_KEYS if key in present)
    contracts = (
        _decimal(present["count_fp"], Reason.QUANTITY_UNREADABLE)
        if "count_fp" in present
        else _whole(present["count"], Reason.QUANTITY_UNREADABLE)
    )
    outcome, inferred = _direction(present)
    yes, no = _prices(present, outcome)
    fee = present.get("fee_cost")
    fee_dollars = None if fee is None else _decimal(fee, Reason.FEE_UNREADABLE)
    is_taker = present.get("is_taker")
    if is_taker is not None and type(is_taker) is not bool:
        raise _Refuse(Reason.FLAG_UNREADABLE)
    subaccount = _small(
        present.get("subaccount_number", present.get("subaccount")), Reason.SUBACCOUNT_UNREADABLE
    )
    shard = _small(present.get("exchange_index"), Reason.SHARD_UNREADABLE)
    action = present.get("action", "")
    if type(action) is not str:
        raise _Refuse(Reason.DIRECTION_UNREADABLE)
    action = _text(action, Reason.DIRECTION_UNREADABLE)
    client_order_id = ""
    for alias, check in _LEGACY_ALIASES.items():
        if alias in present:
            check(present[alias])
    if "client_order_id" in present:
        client_order_id = str(present["client_order_id"])
    identity = present.get("fill_id", present.get("trade_id"))
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


def _direction(present: Mapping[str, JsonValue]) -> tuple[str, bool]:
    """Return the outcome acquired, and whether it had to be inferred from the old `side`."""
    outcome, book = present.get("outcome_side"), present.get("book_side")
    if outcome is None and book is None:
        side = present.get("side")
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


def _prices(present: Mapping[str, JsonValue], outcome: str) -> tuple[Decimal, Decimal]:
    """Return the yes and no price in dollars, from the best pair of fields that is there."""
    for yes_key, no_key in _PRICE_TIERS:
        yes_value, no_value = present.get(yes_key), present.get(no_key)
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
    price = _legacy_price(present["price"])
    return (price, ONE - price) if outcome == "yes" else (ONE - price, price)


def _legacy_price(value: JsonValue) -> Decimal:
    """Return the undocumented `price` in dollars: between 0 and 1, or whole cents from 1 to 99."""
    if type(value) is int:
        price = Decimal(value) if 0 < value < 100 else ZERO
    elif type(value) is Decimal and value.is_finite() and value.adjusted() < 3:
        price = value
    else:
        price = _dollars(value)
    if ZERO < price < ONE:
        return price
    if ONE <= price <= 99 and price == price.to_integral_value():
        return price * _CENT
    raise _Refuse(Reason.PRICE_UNREADABLE)


def _dollars(value: JsonValue) -> Decimal:
    return _decimal(value, Reason.PRICE_UNREADABLE)


def _cents(value: JsonValue) -> Decimal:
    # A text with decimals is dollars under a key of cents, or cents finer than those of any era.
    if type(value) is str and "." in value:
        raise _Refuse(Reason.PRICE_UNREADABLE)
    return _whole(value, Reason.PRICE_UNREADABLE) * _CENT


def _decimal(value: JsonValue, reason: Reason) -> Decimal:
    number = read_decimal(value)
    if number is None:
        raise _Refuse(reason)
    return number


def _whole(value: JsonValue, reason: Reason) -> Decimal:
    number = read_whole(value)
    if number is None:
        raise _Refuse(reason)
    return number


def _small(value: JsonValue, reason: Reason) -> int | None:
    if value is None:
        return None
    number = read_small(value)
    if number is None:
        raise _Refuse(reason)
    return number


def _text(value: JsonValue, reason: Reason) -> str:
    text = read_text(value)
    if text is None:
        raise _Refuse(reason)
    return text


def _instant(value: JsonValue) -> datetime:
    moment = read_instant(value)
    if moment is None:
        raise _Refuse(Reason.TIME_UNREADABLE)
    return moment


def _check_count(value: JsonValue) -> None:
    if _whole(value, Reason.QUANTITY_UNREADABLE) < 0:
        raise _Refuse(Reason.QUANTITY_OUT_OF_RANGE)


def _check_dollars(value: JsonValue) -> None:
    if not ZERO <= _dollars(value) <= ONE:
        raise _Refuse(Reason.PRICE_OUT_OF_RANGE)


def _check_cents(value: JsonValue) -> None:
    if not ZERO <= _whole(value, Reason.PRICE_UNREADABLE) * _CENT <= ONE:
        raise _Refuse(Reason.PRICE_OUT_OF_RANGE)


def _check_price(value: JsonValue) -> None:
    if type(value) is bool or not (
        (type(value) is int and 0 <= value <= 100)
        or (type(value) is Decimal and value.is_finite() and ZERO <= value <= 100)
        or read_decimal(value) is not None
    ):
        raise _Refuse(Reason.PRICE_UNREADABLE)


def _check_time(value: JsonValue) -> None:
    if type(value) is int and _EARLIEST_SECONDS < value < EPOCH_SECONDS_END:
        return
    if _instant(value) <= EARLIEST_FILL:
        raise _Refuse(Reason.TIME_TOO_EARLY)


def _check_id(value: JsonValue) -> None:
    _text(value, Reason.ID_UNREADABLE)


def _check_ticker(value: JsonValue) -> None:
    _text(value, Reason.TICKER_UNREADABLE)


def _check_side(value: JsonValue) -> None:
    if type(value) is not str or value not in BOOK_OF_OUTCOME:
        raise _Refuse(Reason.DIRECTION_UNREADABLE)


_LEGACY_ALIASES: Final[Mapping[str, Callable[[JsonValue], None]]] = {
    "trade_id": _check_id,
    "market_ticker": _check_ticker,
    "ts": _check_time,
    "timestamp": _check_time,
    "count": _check_count,
    "yes_price_fixed": _check_dollars,
    "no_price_fixed": _check_dollars,
    "yes_price": _check_cents,
    "no_price": _check_cents,
    "price": _check_price,
    "side": _check_side,
    "client_order_id": _check_id,
}
"""What checks each alias: where the field of today is there it is not read, but checked still."""


def _rejected(item: JsonValue, raw_json: str, reason: Reason) -> Rejected:
    claims, executed_at = False, None
    if isinstance(item, dict):
        present = _present(item)
        claims = _claims_fill(present)
        executed_at = _readable_time(present)
    return Rejected(
        reason, keys_of(item), raw_json, claims, executed_at, fingerprint(item, raw_json)
    )


def _claims_fill(present: Mapping[str, JsonValue]) -> bool:
    """Return whether a refused item may be a fill all the same, of a schema yet unknown.

    A fill identity is enough where nothing marks a look-alike. Public trades carry one, too, and
    marks. No look-alike carries an identity, an order id and a yes or no price together: an item
    with all three is a fill to which the exchange added a key that marked something else so far.
    """
    if "fill_id" not in present and "trade_id" not in present:
        return False
    if present.keys().isdisjoint(_LOOKALIKE_KEYS) and not _has_margin_side(present):
        return True
    return ("order_id" in present or "orderId" in present) and not present.keys().isdisjoint(
        _YES_OR_NO_PRICE_KEYS
    )


def _readable_time(present: Mapping[str, JsonValue]) -> datetime | None:
    for key in _TIME_KEYS:
        moment = read_instant(present[key]) if key in present else None
        if moment is not None:
            return moment
    return None
