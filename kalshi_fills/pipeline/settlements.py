"""What a settlement is: its fields, how it is read, and why an item is refused as one.

A settlement is read whole or not at all. Its contracts and costs are totals over every fill of the
market, those of closed positions included; see `Settlement`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple

from kalshi_fills.pipeline.fills import CLOCK_TOLERANCE, EARLIEST_FILL, MAX_CONTRACTS, fits
from kalshi_fills.pipeline.values import (
    JsonValue,
    fingerprint,
    keys_of,
    read_decimal,
    read_instant,
    read_small,
    read_text,
)

REFUSED_AT: Final = "settlement"
"""The stage of every refused settlement in the quarantine."""

_MAX_DOLLARS: Final = Decimal(10) ** 12

_MAX_CENTS: Final = 10**14

_MAX_PAYOUT_CENTS: Final = 99_999

_LONGEST_TEXT: Final = 1024

_MARKS: Final = frozenset(("market_result", "revenue", "settled_time"))
"""Keys that nothing but a settlement has."""


class SettlementReason(StrEnum):
    """Why an item is refused as a settlement."""

    NOT_AN_OBJECT = "settlement_not_an_object"
    TICKER = "settlement_ticker_unreadable"
    EVENT = "settlement_event_unreadable"
    RESULT = "settlement_result_unreadable"
    TIME = "settlement_time_unreadable"
    CONTRACTS = "settlement_contracts_unreadable"
    COST = "settlement_cost_unreadable"
    REVENUE = "settlement_revenue_unreadable"
    FEE = "settlement_fee_unreadable"
    PAYOUT = "settlement_payout_unreadable"
    SHARD = "settlement_shard_unreadable"
    SUBACCOUNT = "settlement_subaccount_unreadable"


class SettlementKey(NamedTuple):
    """The identity of a settlement."""

    ticker: str
    subaccount_number: int


class Settlement(NamedTuple):
    """What the exchange settled of one market for one subaccount."""

    settled_at: datetime
    """`settled_time`, aware UTC, to the microsecond."""
    ticker: str
    event_ticker: str
    subaccount_number: int
    """The one that was asked for: the exchange's row does not name it."""
    market_result: str
    """`yes`, `no`, `scalar`, or what else the exchange may call it."""
    yes_contracts: Decimal
    """`yes_count_fp`: contracts of all fills that acquired yes."""
    no_contracts: Decimal
    """`no_count_fp`: contracts of all fills that acquired no."""
    yes_cost_dollars: Decimal
    """`yes_total_cost_dollars`: what these cost."""
    no_cost_dollars: Decimal
    """`no_total_cost_dollars`."""
    revenue_dollars: Decimal
    """`revenue`, which comes in cents: what was paid out for the contracts held."""
    fee_dollars: Decimal
    """`fee_cost`: the fees of all fills once more, none besides."""
    payout_per_yes_dollars: Decimal | None
    """`value`, which comes in cents; None where it is not reported."""
    exchange_index: int | None
    raw_json: str
    """The text of the item, as it came."""

    @property
    def key(self) -> SettlementKey:
        """The identity: there is one settlement for each market and subaccount."""
        return SettlementKey(self.ticker, self.subaccount_number)

    @property
    def content(self) -> tuple[object, ...]:
        """Everything but the text it was read from."""
        return tuple(self)[:-1]


class RefusedSettlement(NamedTuple):
    """An item that is not stored as a settlement, complete, with the reason."""

    reason: SettlementReason
    keys: tuple[str, ...]
    raw_json: str
    """The text of the item, as it came."""
    settled_at: datetime | None
    """Its time, None where none can be read."""
    fingerprint: str
    """32 hex digits, equal for equal content in any order of keys."""
    stage: str = REFUSED_AT
    claims_fill: bool = False

    @property
    def claims_settlement(self) -> bool:
        """Return whether it may be a settlement in a form that this version cannot read."""
        return not _MARKS.isdisjoint(self.keys)


class _Refuse(Exception):
    def __init__(self, reason: SettlementReason) -> None:
        super().__init__(reason)
        self.reason = reason


def read_settlement(
    item: JsonValue, raw_json: str, subaccount_number: int, now: datetime
) -> Settlement | RefusedSettlement:
    """Return an item as a settlement, or as refused with its reason. Never raises.

    Args:
        item: the decoded item, whatever it is.
        raw_json: the text it was decoded from; kept, not read.
        subaccount_number: the subaccount that was asked for; one that the item names counts more.
        now: the clock against which the time is checked, aware UTC.
    """
    if not isinstance(item, dict):
        return _refused(SettlementReason.NOT_AN_OBJECT, item, raw_json)
    try:
        return _read(item, raw_json, subaccount_number, now)
    except _Refuse as refusal:
        return _refused(refusal.reason, item, raw_json)


def _read(
    item: Mapping[str, JsonValue], raw_json: str, subaccount_number: int, now: datetime
) -> Settlement:
    return Settlement(
        _time(item.get("settled_time"), now),
        _text(item.get("ticker"), SettlementReason.TICKER),
        _text(item.get("event_ticker"), SettlementReason.EVENT),
        _subaccount(item.get("subaccount_number"), subaccount_number),
        _text(item.get("market_result"), SettlementReason.RESULT),
        _number(item.get("yes_count_fp"), 2, MAX_CONTRACTS, SettlementReason.CONTRACTS),
        _number(item.get("no_count_fp"), 2, MAX_CONTRACTS, SettlementReason.CONTRACTS),
        _number(item.get("yes_total_cost_dollars"), 6, _MAX_DOLLARS, SettlementReason.COST),
        _number(item.get("no_total_cost_dollars"), 6, _MAX_DOLLARS, SettlementReason.COST),
        _cents(item.get("revenue"), _MAX_CENTS, SettlementReason.REVENUE),
        _number(item.get("fee_cost"), 6, _MAX_DOLLARS, SettlementReason.FEE),
        _payout(item.get("value")),
        _shard(item.get("exchange_index")),
        raw_json,
    )


def _refused(reason: SettlementReason, item: JsonValue, raw_json: str) -> RefusedSettlement:
    settled_at = None
    if isinstance(item, dict):
        reported = item.get("settled_time")
        settled_at = read_instant(reported) if isinstance(reported, str) else None
    return RefusedSettlement(
        reason, keys_of(item), raw_json, settled_at, fingerprint(item, raw_json)
    )


def _text(value: JsonValue, reason: SettlementReason) -> str:
    text = read_text(value)
    if not text or len(text) > _LONGEST_TEXT:
        raise _Refuse(reason)
    return text


def _time(value: JsonValue, now: datetime) -> datetime:
    moment = read_instant(value) if isinstance(value, str) else None
    if moment is None or not EARLIEST_FILL < moment <= now + CLOCK_TOLERANCE:
        raise _Refuse(SettlementReason.TIME)
    return moment


def _number(value: JsonValue, decimals: int, end: Decimal, reason: SettlementReason) -> Decimal:
    """Return a number that a column of so many decimals holds exactly."""
    number = read_decimal(value)
    if number is None or not 0 <= number < end or not fits(number, decimals):
        raise _Refuse(reason)
    return number


def _cents(value: JsonValue, end: int, reason: SettlementReason) -> Decimal:
    """Return whole cents as dollars."""
    if type(value) is not int or not 0 <= value < end:
        raise _Refuse(reason)
    return Decimal(value).scaleb(-2)


def _payout(value: JsonValue) -> Decimal | None:
    if value is None:
        return None
    return _cents(value, _MAX_PAYOUT_CENTS, SettlementReason.PAYOUT)


def _subaccount(value: JsonValue, asked_for: int) -> int:
    return asked_for if value is None else _small(value, SettlementReason.SUBACCOUNT)


def _shard(value: JsonValue) -> int | None:
    return None if value is None else _small(value, SettlementReason.SHARD)


def _small(value: JsonValue, reason: SettlementReason) -> int:
    number = read_small(value)
    if number is None:
        raise _Refuse(reason)
    return number
