"""A settlement is read exactly and whole, or refused with its reason."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from support.settling import PLAIN

from kalshi_fills.exchange.decode import decoder
from kalshi_fills.pipeline.settlements import (
    RefusedSettlement,
    Settlement,
    SettlementReason,
    read_settlement,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def read(item: Any, subaccount: int = 3) -> Settlement | RefusedSettlement:
    text = item if isinstance(item, str) else json.dumps(item)
    return read_settlement(decoder.decode(text), text, subaccount, NOW)


def accepted(item: Any, **options: Any) -> Settlement:
    found = read(item, **options)
    assert isinstance(found, Settlement), found
    return found


def test_every_field_is_read_to_the_last_digit() -> None:
    text = json.dumps(PLAIN | {"yes_total_cost_dollars": "123456789012.000001", "value": 61})

    assert accepted(text) == Settlement(
        settled_at=datetime(2026, 11, 16, 13, 0, 7, 320_000, tzinfo=UTC),
        ticker="KXHIGHNY-26NOV15-B48.5",
        event_ticker="KXHIGHNY-26NOV15",
        subaccount_number=3,
        market_result="yes",
        yes_contracts=Decimal("20.00"),
        no_contracts=Decimal(0),
        yes_cost_dollars=Decimal("123456789012.000001"),
        no_cost_dollars=Decimal(0),
        revenue_dollars=Decimal("20.00"),
        fee_dollars=Decimal("0.35"),
        payout_per_yes_dollars=Decimal("0.61"),
        exchange_index=0,
        raw_json=text,
    )


def test_what_may_be_missing_is_unknown() -> None:
    without = {key: value for key, value in PLAIN.items() if key not in ("value", "exchange_index")}
    for item in (without, PLAIN | {"value": None, "exchange_index": None}):
        found = accepted(item)
        assert (found.payout_per_yes_dollars, found.exchange_index) == (None, None)


def test_a_result_of_tomorrow_and_a_new_key_are_no_reason_to_refuse() -> None:
    assert accepted(PLAIN | {"market_result": "void", "new_key": [1]}).market_result == "void"


def test_a_row_that_names_its_subaccount_is_of_that_one() -> None:
    assert accepted(PLAIN | {"subaccount_number": 9}).subaccount_number == 9
    assert accepted(PLAIN | {"subaccount_number": None}).subaccount_number == 3


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ticker": ""}, SettlementReason.TICKER),
        ({"ticker": 7}, SettlementReason.TICKER),
        ({"ticker": "\ud800"}, SettlementReason.TICKER),
        ({"event_ticker": None}, SettlementReason.EVENT),
        ({"market_result": None}, SettlementReason.RESULT),
        ({"settled_time": "yesterday"}, SettlementReason.TIME),
        ({"settled_time": 1_795_000_000}, SettlementReason.TIME),
        ({"settled_time": "2020-01-01T00:00:00Z"}, SettlementReason.TIME),
        ({"settled_time": (NOW + timedelta(minutes=6)).isoformat()}, SettlementReason.TIME),
        ({"yes_count_fp": 20}, SettlementReason.CONTRACTS),
        ({"yes_count_fp": "20.001"}, SettlementReason.CONTRACTS),
        ({"no_count_fp": "-1.00"}, SettlementReason.CONTRACTS),
        ({"no_count_fp": "1e3"}, SettlementReason.CONTRACTS),
        ({"yes_total_cost_dollars": 10.5}, SettlementReason.COST),
        ({"no_total_cost_dollars": "0.0000001"}, SettlementReason.COST),
        ({"no_total_cost_dollars": "9" * 16 + "." + "9" * 18}, SettlementReason.COST),
        ({"revenue": "2000"}, SettlementReason.REVENUE),
        ({"revenue": 20.5}, SettlementReason.REVENUE),
        ({"revenue": True}, SettlementReason.REVENUE),
        ({"revenue": None}, SettlementReason.REVENUE),
        ({"fee_cost": "free"}, SettlementReason.FEE),
        ({"fee_cost": None}, SettlementReason.FEE),
        ({"value": "100"}, SettlementReason.PAYOUT),
        ({"value": -1}, SettlementReason.PAYOUT),
        ({"exchange_index": 256}, SettlementReason.SHARD),
        ({"subaccount_number": "0"}, SettlementReason.SUBACCOUNT),
    ],
)
def test_what_cannot_be_read_is_refused_whole(
    changes: dict[str, Any], reason: SettlementReason
) -> None:
    text = json.dumps(PLAIN | changes)

    found = read(text)

    assert isinstance(found, RefusedSettlement)
    assert (found.reason, found.stage, found.raw_json) == (reason, "settlement", text)
    assert set(found.keys) == {*PLAIN, *changes}
    assert found.claims_settlement
    assert not found.claims_fill


@pytest.mark.parametrize("key", sorted(PLAIN.keys() - {"value", "exchange_index"}))
def test_a_missing_key_is_refused(key: str) -> None:
    found = read({name: value for name, value in PLAIN.items() if name != key})

    assert isinstance(found, RefusedSettlement)
    assert (found.settled_at is None) == (key == "settled_time")


@pytest.mark.parametrize("item", [None, 0, "text", [1], True, {}, {"order_id": "o"}])
def test_what_is_no_settlement_claims_to_be_none(item: Any) -> None:
    found = read(json.dumps(item))

    assert isinstance(found, RefusedSettlement)
    assert not found.claims_settlement


@pytest.mark.parametrize("number", ["1e999999999", "NaN", "-Infinity", "9" * 40, "1.5", "-0"])
def test_numbers_beyond_all_bounds_crash_nothing(number: str) -> None:
    for key in ("revenue", "value", "exchange_index", "yes_count_fp", "settled_time"):
        text = json.dumps(PLAIN | {key: "HERE"}).replace('"HERE"', number)
        found = read(text)
        assert isinstance(found, RefusedSettlement) or (number == "-0" and key != "yes_count_fp")
