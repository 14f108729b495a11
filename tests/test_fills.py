"""What a fill is: every era accepted exactly, everything else refused for its own reason."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.payloads import (
    CURRENT,
    ERAS,
    FIXED_ONLY,
    LEGACY,
    NOW,
    README_ERA,
    TRANSITIONAL,
    anything,
    scalars,
)

from kalshi_fills.exchange.decode import decode_listing
from kalshi_fills.pipeline.fills import (
    KNOWN_KEYS,
    MEANING,
    STAGE_OF,
    Fill,
    Reason,
    Rejected,
    Stage,
    book_side,
    gate,
    side_price_dollars,
)
from kalshi_fills.pipeline.parse import read_item

SHARED = Path(__file__).parent.parent.parent / "shared" / "kalshi"

NAKED: dict[str, Any] = {
    "order_id": "o-1",
    "created_time": "2026-11-20T14:31:09Z",
    "count_fp": "1.00",
    "yes_price_dollars": "0.5000",
    "outcome_side": "yes",
    "ticker": "KXNAKED",
}


def decoded(payload: Any) -> tuple[Any, str]:
    """The payload as the tool meets it: sent as JSON, decoded with exact numbers."""
    (item,), _ = decode_listing(json.dumps([payload]), "fills")
    return item.value, item.text


def read(payload: Any, now: datetime = NOW) -> Fill | Rejected:
    value, text = decoded(payload)
    return read_item(value, text, "live", now)


def fill_of(payload: Any) -> Fill:
    outcome = read(payload)
    assert isinstance(outcome, Fill), outcome.reason
    return outcome


def reason_of(payload: Any) -> Reason:
    outcome = read(payload)
    assert isinstance(outcome, Rejected), outcome
    return outcome.reason


def without(payload: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in payload.items() if key not in keys}


PRICES = ("yes_price_dollars", "no_price_dollars")
ONLY_PRICE = without(LEGACY, "yes_price", "no_price", "yes_price_fixed", "no_price_fixed")


# Every reason


REFUSED: list[tuple[Reason, Any, bool]] = [
    (Reason.NOT_AN_OBJECT, None, False),
    (Reason.NOT_AN_OBJECT, "a fill", False),
    (Reason.NOT_AN_OBJECT, 7, False),
    (Reason.NOT_AN_OBJECT, [CURRENT], False),
    (Reason.LOOKS_LIKE_ORDER, CURRENT | {"status": "executed"}, True),
    (Reason.LOOKS_LIKE_TRADE, CURRENT | {"taker_side": "yes"}, True),
    (Reason.LOOKS_LIKE_QUOTE, CURRENT | {"rfq_id": "r"}, True),
    (Reason.LOOKS_LIKE_SETTLEMENT, CURRENT | {"market_result": "yes"}, True),
    (Reason.LOOKS_LIKE_MARGIN_FILL, CURRENT | {"realized_pnl": "1.0"}, True),
    (Reason.LOOKS_LIKE_MARGIN_FILL, CURRENT | {"side": "bid"}, True),
    (Reason.LOOKS_LIKE_POSITION, CURRENT | {"position_fp": "1.00"}, True),
    (Reason.LOOKS_LIKE_TRANSFER, CURRENT | {"amount_cents": 5}, True),
    (Reason.LOOKS_LIKE_MARKET, CURRENT | {"yes_bid": 5}, True),
    (Reason.NO_ORDER_ID, without(CURRENT, "order_id"), True),
    (Reason.NO_ORDER_ID, CURRENT | {"order_id": ""}, True),
    (Reason.NO_EVENT_TIME, without(CURRENT, "created_time", "ts"), True),
    (Reason.NO_EVENT_TIME, CURRENT | {"created_time": None, "ts": None}, True),
    (Reason.NO_QUANTITY, without(CURRENT, "count_fp"), True),
    (Reason.NO_QUANTITY, CURRENT | {"count_fp": None}, True),
    (Reason.NO_PRICE, without(CURRENT, *PRICES), True),
    (Reason.NO_PRICE, without(NAKED, "yes_price_dollars"), False),
    (Reason.ID_UNREADABLE, CURRENT | {"fill_id": 12}, True),
    (Reason.ID_UNREADABLE, CURRENT | {"order_id": ["o"]}, True),
    (Reason.TICKER_UNREADABLE, CURRENT | {"ticker": 12}, True),
    (Reason.TIME_UNREADABLE, CURRENT | {"created_time": "yesterday"}, True),
    (Reason.TIME_UNREADABLE, CURRENT | {"created_time": "2026-11-20T14:31:09"}, True),
    (Reason.QUANTITY_UNREADABLE, CURRENT | {"count_fp": "many"}, True),
    (Reason.PRICE_UNREADABLE, CURRENT | {"yes_price_dollars": "cheap"}, True),
    (Reason.PRICES_DO_NOT_ADD_UP, CURRENT | {"no_price_dollars": "0.3901"}, True),
    (Reason.NO_DIRECTION, without(CURRENT, "outcome_side", "book_side", "side"), True),
    (Reason.DIRECTION_UNREADABLE, CURRENT | {"outcome_side": "maybe"}, True),
    (Reason.DIRECTION_CONTRADICTS, CURRENT | {"book_side": "bid"}, True),
    (Reason.FEE_UNREADABLE, CURRENT | {"fee_cost": 0.07}, True),
    (Reason.FLAG_UNREADABLE, CURRENT | {"is_taker": "true"}, True),
    (Reason.SUBACCOUNT_UNREADABLE, CURRENT | {"subaccount_number": 256}, True),
    (Reason.SHARD_UNREADABLE, CURRENT | {"exchange_index": -1}, True),
    (
        Reason.PRICE_OUT_OF_RANGE,
        CURRENT | {"yes_price_dollars": "0.0000", "no_price_dollars": "1.0000"},
        True,
    ),
    (
        Reason.PRICE_TOO_FINE,
        CURRENT | {"yes_price_dollars": "0.6100001", "no_price_dollars": "0.3899999"},
        True,
    ),
    (Reason.QUANTITY_OUT_OF_RANGE, CURRENT | {"count_fp": "0.00"}, True),
    (Reason.QUANTITY_TOO_FINE, CURRENT | {"count_fp": "0.001"}, True),
    (Reason.FEE_OUT_OF_RANGE, CURRENT | {"fee_cost": "-0.01"}, True),
    (Reason.TICKER_EMPTY, without(CURRENT, "ticker", "market_ticker"), True),
    (Reason.TEXT_TOO_LONG, CURRENT | {"ticker": "K" * 1024}, True),
    (Reason.TIME_TOO_EARLY, CURRENT | {"created_time": "2021-01-01T00:00:00Z"}, True),
    (Reason.TIME_IN_THE_FUTURE, CURRENT | {"created_time": "2026-11-23T12:05:00.000001Z"}, True),
]
GIVEN_BY_A_PASS = {Reason.CONTRADICTS_ANOTHER_REPORT}
"""No item falls for these by itself."""
UNMET_BY_ITEMS: dict[Reason, dict[str, Any]] = {
    # Reading an item never makes such a fill; the gate holds whatever built it.
    Reason.SIDE_OUT_OF_RANGE: {"outcome": "bid"},
    Reason.ID_EMPTY: {"fill_id": ""},
}


@pytest.mark.parametrize(("reason", "payload", "claims_fill"), REFUSED)
def test_is_refused_for_its_reason_at_its_stage(
    reason: Reason, payload: Any, claims_fill: bool
) -> None:
    outcome = read(payload)
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.claims_fill) == (reason, claims_fill)
    assert outcome.stage is STAGE_OF[reason]
    assert json.loads(outcome.raw_json) == payload
    assert list(outcome.keys) == (list(payload) if isinstance(payload, dict) else [])


@pytest.mark.parametrize(("reason", "change"), UNMET_BY_ITEMS.items())
def test_gate_holds_what_no_item_can_bring(reason: Reason, change: dict[str, Any]) -> None:
    fill = fill_of(CURRENT)
    assert gate(fill, NOW) is None
    assert gate(fill._replace(**change), NOW) is reason


def test_every_reason_is_reached_and_explained() -> None:
    met = {reason for reason, _, _ in REFUSED}
    assert met | set(UNMET_BY_ITEMS) | GIVEN_BY_A_PASS == set(Reason)
    assert set(MEANING) == set(STAGE_OF) == set(Reason)


def test_each_stage_refuses_what_is_its_own() -> None:
    assert STAGE_OF[Reason.NOT_AN_OBJECT] is Stage.RAW
    assert STAGE_OF[Reason.LOOKS_LIKE_ORDER] is Stage.REAL
    assert STAGE_OF[Reason.NO_PRICE] is Stage.REAL
    assert STAGE_OF[Reason.ID_UNREADABLE] is Stage.VALID
    assert STAGE_OF[Reason.SHARD_UNREADABLE] is Stage.VALID
    assert STAGE_OF[Reason.PRICE_OUT_OF_RANGE] is Stage.GATED
    assert STAGE_OF[Reason.TIME_IN_THE_FUTURE] is Stage.GATED
    assert set(STAGE_OF.values()) == {Stage.RAW, Stage.REAL, Stage.VALID, Stage.GATED}


# Every era


@pytest.mark.parametrize(
    ("era", "time", "outcome", "yes", "contracts", "fee", "inferred"),
    [
        ("current", (2026, 11, 20, 14, 31, 9, 417), "no", "0.61", "4.5", "0.074939", False),
        (
            "current, required fields only",
            (2026, 11, 20, 14, 31, 9, 417),
            "no",
            "0.61",
            "4.5",
            "0.074939",
            False,
        ),
        ("transitional", (2026, 3, 10, 13, 30, 2, 30000), "no", "0.62", "3.75", "0.0619", True),
        ("fixed strings only", (2026, 3, 10, 13, 30, 2, 30000), "no", "0.055", "3.75", "0.0619", 1),
        ("legacy", (2025, 11, 2, 23, 55, 1, 500000), "yes", "0.41", "10", None, True),
        ("readme era", (2024, 6, 14, 17, 45, 9, 100000), "no", "0.52", "25", None, True),
        ("pushed over the socket", (2026, 11, 20, 14, 31, 9), "yes", "0.75", "2", "0.0263", False),
    ],
)
def test_every_era_lands_exactly(
    era: str,
    time: tuple[int, ...],
    outcome: str,
    yes: str,
    contracts: str,
    fee: str | None,
    inferred: bool,
) -> None:
    payload = ERAS[era]
    fill = fill_of(payload)
    assert fill.executed_at == datetime(*time, tzinfo=UTC)
    assert fill.executed_at.tzinfo is UTC
    assert fill.outcome == outcome
    assert fill.yes_price_dollars == Decimal(yes)
    assert fill.no_price_dollars == 1 - Decimal(yes)
    assert fill.contracts == Decimal(contracts)
    assert fill.fee_dollars == (None if fee is None else Decimal(fee))
    assert fill.direction_inferred == inferred
    assert not fill.id_synthetic
    assert fill.fill_id == payload.get("fill_id", payload["trade_id"])
    assert fill.order_id == payload["order_id"]
    assert fill.ticker == payload.get("ticker", payload.get("market_ticker"))
    assert fill.action == payload.get("action", "")
    assert fill.client_order_id == payload.get("client_order_id", "")
    assert fill.is_taker is payload["is_taker"]
    assert fill.exchange_index == payload.get("exchange_index")
    assert fill.subaccount_number == payload.get("subaccount_number", payload.get("subaccount"))
    assert fill.source == "live"
    assert json.loads(fill.raw_json) == payload
    assert fill.key == (fill.fill_id, fill.order_id)
    assert set(payload) <= KNOWN_KEYS


def test_a_sell_row_of_the_no_side_acquired_no() -> None:
    for payload in (CURRENT, TRANSITIONAL, README_ERA):
        assert payload["action"] == "sell"
        fill = fill_of(payload)
        assert fill.outcome == "no"
        assert book_side(fill.outcome) == "ask"
        assert side_price_dollars(fill) == fill.no_price_dollars


@pytest.mark.skipif(not SHARED.is_dir(), reason="no folder of recorded payloads beside the project")
def test_recorded_payloads_are_fills_and_other_objects_are_not() -> None:
    for path in sorted(SHARED.glob("*/fills*.json")):
        items, _ = decode_listing(path.read_text(), "fills")
        assert items
        for item in items:
            outcome = read_item(item.value, item.text, "live", NOW)
            assert isinstance(outcome, Fill), (path.name, outcome)
            if "yes_price_dollars" in item.value:
                assert outcome.yes_price_dollars == Decimal(item.value["yes_price_dollars"])
            count = item.value.get("count_fp") or item.value["count"]
            assert outcome.contracts == Decimal(count)
            wanted = item.value.get("outcome_side", item.value.get("side"))
            assert outcome.outcome == wanted
    recorded, _ = decode_listing((SHARED / "recorded/fills.json").read_text(), "fills")
    fills = [read_item(item.value, item.text, "live", NOW) for item in recorded]
    assert sum(fill.contracts for fill in fills if isinstance(fill, Fill)) == 3
    fees = [fill.fee_dollars for fill in fills if isinstance(fill, Fill)]
    assert sum(fee for fee in fees if fee is not None) == Decimal("0.0189")
    for name in ("orders", "trades", "settlements"):
        for path in SHARED.glob(f"*/{name}.json"):
            items, _ = decode_listing(path.read_text(), name)
            for item in items:
                assert isinstance(read_item(item.value, item.text, "live", NOW), Rejected)


# Look-alikes, with the fields each object has


_WHEN = "2026-11-20T14:31:09Z"
_MONEY = {"yes_price_dollars": "0.6100", "no_price_dollars": "0.3900"}
_WAY = {"side": "no", "outcome_side": "no", "book_side": "ask", "action": "buy"}
LOOKALIKES: dict[str, tuple[Reason, dict[str, Any]]] = {
    "order": (
        Reason.LOOKS_LIKE_ORDER,
        {
            **_WAY,
            **_MONEY,
            "order_id": "o",
            "user_id": "u",
            "client_order_id": "c",
            "ticker": "K",
            "type": "limit",
            "status": "executed",
            "fill_count_fp": "1.00",
            "remaining_count_fp": "0.00",
            "initial_count_fp": "1.00",
            "count_fp": "1.00",
            "created_time": _WHEN,
            "is_taker": True,
            "fill_id": "f",
            "trade_id": "f",
        },
    ),
    "answer to an order": (
        Reason.LOOKS_LIKE_ORDER,
        {
            "order_id": "o",
            "client_order_id": "c",
            "fill_count": "1.00",
            "remaining_count": "0.00",
            "average_fill_price": "0.6100",
            "average_fee_paid": "0.0100",
            "ts_ms": 1795185069000,
            "ts": 1795185069,
            "count": 1,
            "price": 61,
        },
    ),
    "pushed order": (
        Reason.LOOKS_LIKE_ORDER,
        {
            "order_id": "o",
            "ticker": "K",
            "status": "resting",
            "is_yes": True,
            "yes_price_dollars": "0.6100",
            "initial_count_fp": "1.00",
            "remaining_count_fp": "1.00",
            "fill_count_fp": "0.00",
            "created_ts_ms": 1795185069000,
        },
    ),
    "margin fill": (
        Reason.LOOKS_LIKE_MARGIN_FILL,
        {
            "fill_id": "f",
            "order_id": "o",
            "ticker": "KXBTCPERP",
            "is_taker": True,
            "side": "bid",
            "count": "1.00",
            "price": "0.9500",
            "entry_price": "0.9400",
            "fees": "0.01",
            "realized_pnl": "0.00",
            "order_source": "user",
            "created_time": _WHEN,
        },
    ),
    "margin fill without its own fields": (
        Reason.LOOKS_LIKE_MARGIN_FILL,
        {
            "fill_id": "f",
            "order_id": "o",
            "ticker": "KXBTCPERP",
            "side": "ask",
            "count": "1.00",
            "price": "0.9500",
            "created_time": _WHEN,
        },
    ),
    "trade": (
        Reason.LOOKS_LIKE_TRADE,
        {
            **_MONEY,
            "trade_id": "t",
            "ticker": "K",
            "count_fp": "1.00",
            "taker_side": "yes",
            "taker_outcome_side": "yes",
            "taker_book_side": "bid",
            "created_time": _WHEN,
            "is_block_trade": False,
        },
    ),
    "clearing member's fill": (
        Reason.LOOKS_LIKE_TRADE,
        {
            "fill_id": "f",
            "exchange_index": 0,
            "ticker": "K",
            "taker_outcome_side": "yes",
            "count_fp": "1.00",
            "yes_price_dollars": "0.6100",
            "created_time": _WHEN,
            "maker_order_id": "m",
            "taker_order_id": "t",
            "maker_fee_cost": "0.00",
            "taker_fee_cost": "0.01",
        },
    ),
    "settlement": (
        Reason.LOOKS_LIKE_SETTLEMENT,
        {
            "ticker": "K",
            "event_ticker": "E",
            "market_result": "yes",
            "yes_count_fp": "1.00",
            "no_count_fp": "0.00",
            "yes_total_cost_dollars": "0.61",
            "revenue": 100,
            "settled_time": _WHEN,
            "fee_cost": "0.01",
            "value": 100,
        },
    ),
    "quote": (
        Reason.LOOKS_LIKE_QUOTE,
        {
            "id": "q",
            "rfq_id": "r",
            "creator_id": "c",
            "rfq_creator_id": "c",
            "market_ticker": "K",
            "contracts_fp": "1.00",
            "yes_bid_dollars": "0.60",
            "no_bid_dollars": "0.39",
            "created_ts": _WHEN,
            "status": "executed",
            "creator_order_id": "o",
            "rfq_creator_order_id": "o",
        },
    ),
    "request for a quote": (
        Reason.LOOKS_LIKE_QUOTE,
        {
            "id": "r",
            "creator_id": "c",
            "market_ticker": "K",
            "contracts_fp": "1.00",
            "target_cost_dollars": "25.00",
            "status": "open",
            "created_ts": _WHEN,
        },
    ),
    "block trade proposal": (
        Reason.LOOKS_LIKE_QUOTE,
        {
            "id": "b",
            "market_ticker": "K",
            "price_centi_cents": 6100,
            "centicount": 100,
            "maker_side": "yes",
            "status": "executed",
            "created_ts": _WHEN,
            "buyer_order_id": "o",
            "seller_order_id": "o",
        },
    ),
    "position": (
        Reason.LOOKS_LIKE_POSITION,
        {
            "ticker": "K",
            "exchange_index": 0,
            "total_traded_dollars": "1.00",
            "position_fp": "1.00",
            "market_exposure_dollars": "1.00",
            "realized_pnl_dollars": "0.00",
            "fees_paid_dollars": "0.00",
            "last_updated_ts": _WHEN,
        },
    ),
    "deposit": (
        Reason.LOOKS_LIKE_TRANSFER,
        {
            "id": "d",
            "status": "applied",
            "type": "ach",
            "amount_cents": 100,
            "fee_cents": 0,
            "created_ts": 1795185069,
            "finalized_ts": 1795185070,
        },
    ),
    "market snapshot": (
        Reason.LOOKS_LIKE_MARKET,
        {
            "ticker": "K",
            "status": "active",
            "yes_bid": 60,
            "yes_ask": 61,
            "no_bid": 39,
            "no_ask": 40,
            "last_price": 61,
            "volume": 5,
            "open_interest": 5,
            "ts": 1795185069,
        },
    ),
}


@pytest.mark.parametrize("name", LOOKALIKES)
def test_a_lookalike_is_named_for_what_it_is(name: str) -> None:
    reason, payload = LOOKALIKES[name]
    assert reason_of(payload) is reason


@pytest.mark.parametrize("name", LOOKALIKES)
def test_a_lookalike_is_refused_however_much_of_a_fill_it_carries(name: str) -> None:
    _, payload = LOOKALIKES[name]
    if name == "margin fill without its own fields":
        payload = {"side": payload["side"]}
    outcome = read(CURRENT | payload)
    assert isinstance(outcome, Rejected)
    assert outcome.stage is Stage.REAL


@pytest.mark.parametrize(
    "mark",
    "status initial_count_fp remaining_count_fp fill_count_fp fill_count remaining_count "
    "average_fill_price average_fee_paid user_id is_yes last_update_time order_group_id "
    "taker_side taker_outcome_side taker_book_side is_block_trade maker_order_id taker_order_id "
    "rfq_id creator_id rfq_creator_id creator_order_id rfq_creator_order_id contracts_fp "
    "target_cost_dollars price_centi_cents centicount buyer_order_id seller_order_id "
    "market_result settled_time revenue yes_count_fp no_count_fp entry_price realized_pnl fees "
    "order_source position_fp market_exposure_dollars fees_paid_dollars amount_cents fee_cents "
    "yes_bid yes_ask last_price volume open_interest".split(),
)
@pytest.mark.parametrize("value", ["x", 0, False])
def test_one_mark_of_a_lookalike_is_enough(mark: str, value: object) -> None:
    outcome = read(CURRENT | {mark: value})
    assert isinstance(outcome, Rejected)
    assert outcome.stage is Stage.REAL


@pytest.mark.parametrize("empty", [None, ""])
def test_an_empty_mark_is_no_mark(empty: object) -> None:
    assert fill_of(CURRENT | {"status": empty, "rfq_id": empty}).contracts == Decimal("4.50")


def test_an_unknown_field_is_kept_and_harmless() -> None:
    fill = fill_of(CURRENT | {"something_new": {"a": [1, 2.5]}})
    assert json.loads(fill.raw_json)["something_new"] == {"a": [1, 2.5]}


# Money and quantities


@pytest.mark.parametrize("yes", ["0.0050", "0.9950", "0.000100", "0.9999", "0.0001", "0.5"])
@pytest.mark.parametrize("tier", ["dollars", "fixed"])
def test_sub_cent_prices_are_kept_exactly(yes: str, tier: str) -> None:
    sent = {f"yes_price_{tier}": yes, f"no_price_{tier}": str(1 - Decimal(yes))}
    fill = fill_of(without(CURRENT, *PRICES) | sent)
    assert fill.yes_price_dollars == Decimal(yes)
    assert fill.no_price_dollars == 1 - Decimal(yes)


@pytest.mark.parametrize("count", ["0.01", "2.50", "1", "1000000.00", "9999999999999999.99"])
def test_quantities_are_kept_exactly(count: str) -> None:
    assert fill_of(CURRENT | {"count_fp": count}).contracts == Decimal(count)


@pytest.mark.parametrize("given_key", PRICES)
def test_one_price_tells_the_other(given_key: str) -> None:
    fill = fill_of(without(CURRENT, *PRICES) | {given_key: "0.0050"})
    known = fill.yes_price_dollars if given_key[0] == "y" else fill.no_price_dollars
    assert known == Decimal("0.0050")
    assert fill.yes_price_dollars + fill.no_price_dollars == 1


def test_strings_win_over_integers_and_dollars_over_cents() -> None:
    # Whole cents and contracts were cut off, not rounded, in the last weeks they were sent.
    fill = fill_of(
        CURRENT
        | {
            "yes_price_dollars": "0.0050",
            "no_price_dollars": "0.9950",
            "yes_price_fixed": "0.0100",
            "no_price_fixed": "0.9900",
            "yes_price": 0,
            "no_price": 99,
            "price": 0.01,
            "count": 4,
        }
    )
    assert (fill.yes_price_dollars, fill.contracts) == (Decimal("0.0050"), Decimal("4.50"))


def test_fixed_strings_win_over_cents() -> None:
    fill = fill_of(LEGACY | {"yes_price_fixed": "0.4150", "no_price_fixed": "0.5850"})
    assert fill.yes_price_dollars == Decimal("0.415")


def test_a_missing_fee_is_unknown_and_a_fee_of_nothing_is_zero() -> None:
    for absent in (without(CURRENT, "fee_cost"), CURRENT | {"fee_cost": None}):
        assert fill_of(absent).fee_dollars is None
    assert fill_of(CURRENT | {"fee_cost": "0.000000"}).fee_dollars == 0


def test_a_fee_of_minus_nothing_is_zero() -> None:
    fee = fill_of(CURRENT | {"fee_cost": "-0.000000"}).fee_dollars
    assert fee is not None
    assert not fee.is_signed()


def test_a_missing_subaccount_or_flag_is_unknown() -> None:
    fill = fill_of(without(CURRENT, "subaccount_number", "is_taker", "exchange_index"))
    assert (fill.subaccount_number, fill.is_taker, fill.exchange_index) == (None, None, None)


@pytest.mark.parametrize(
    ("price", "dollars"),
    [
        ("0.37", "0.37"),
        ("0.005", "0.005"),
        ("1", "0.01"),
        ("63", "0.63"),
        ("99", "0.99"),
        ("99.0", "0.99"),
        ('"0.37"', "0.37"),
        ('"63"', "0.63"),
        ("3.7e-1", "0.37"),
    ],
)
@pytest.mark.parametrize("side", ["yes", "no"])
def test_legacy_price_alone_is_of_the_side(price: str, dollars: str, side: str) -> None:
    text = json.dumps(ONLY_PRICE | {"side": side, "price": "PRICE"}).replace('"PRICE"', price)
    (item,), _ = decode_listing(f"[{text}]", "fills")
    fill = read_item(item.value, item.text, "live", NOW)
    assert isinstance(fill, Fill)
    assert side_price_dollars(fill) == Decimal(dollars)
    assert fill.yes_price_dollars == (Decimal(dollars) if side == "yes" else 1 - Decimal(dollars))


@pytest.mark.parametrize(
    "price",
    [
        *("0", "0.0", "100", "99.5", "1.5", "-5", "-0.5", "1e400", "1e-400", "NaN", "Infinity"),
        *("true", '"x"', "[1]", '"NaN"', '"0"', '"100"', "0.1234567"),
    ],
)
def test_any_other_legacy_price_is_refused(price: str) -> None:
    text = json.dumps(ONLY_PRICE | {"price": "PRICE"}).replace('"PRICE"', price)
    (item,), _ = decode_listing(f"[{text}]", "fills")
    outcome = read_item(item.value, item.text, "live", NOW)
    assert isinstance(outcome, Rejected)
    assert outcome.reason in (
        Reason.PRICE_UNREADABLE,
        Reason.PRICE_OUT_OF_RANGE,
        Reason.PRICE_TOO_FINE,
    )


def test_legacy_price_is_not_read_beside_another_price() -> None:
    assert fill_of(LEGACY | {"price": 0.99}).yes_price_dollars == Decimal("0.41")


# One number broken


BROKEN_VALUES = {
    "a float": "0.25",
    "NaN": "NaN",
    "minus infinity": "-Infinity",
    "a huge number": "1e400",
    "a huge number as text": '"1e400"',
    "digits without end": "9" * 5000,
    "digits without end as text": '"' + "9" * 5000 + '"',
    "a number with an exponent as text": '"1e-1"',
    "NaN as text": '"NaN"',
    "minus one": "-1",
    "minus one as text": '"-1"',
    "true": "true",
    "a list": "[1]",
    "an object": '{"a": 1}',
    "10 MB of text": '"' + "x" * 10_000_000 + '"',
    "10 MB of digits": '"' + "7" * 10_000_000 + '"',
    "space around it": '" 0.25 "',
    "other digits": '"\u0660.\u0662"',
    "a sign": '"+0.25"',
}
NUMBER_REASONS = {
    "count_fp": {Reason.QUANTITY_UNREADABLE, Reason.QUANTITY_OUT_OF_RANGE},
    "count": {Reason.QUANTITY_UNREADABLE, Reason.QUANTITY_OUT_OF_RANGE},
    "yes_price_dollars": {
        Reason.PRICE_UNREADABLE,
        Reason.PRICE_OUT_OF_RANGE,
        Reason.PRICES_DO_NOT_ADD_UP,
    },
    "yes_price": {Reason.PRICE_UNREADABLE, Reason.PRICE_OUT_OF_RANGE, Reason.PRICES_DO_NOT_ADD_UP},
    "fee_cost": {Reason.FEE_UNREADABLE, Reason.FEE_OUT_OF_RANGE},
    "subaccount_number": {Reason.SUBACCOUNT_UNREADABLE},
    "exchange_index": {Reason.SHARD_UNREADABLE},
    "ts": {Reason.TIME_UNREADABLE, Reason.TIME_TOO_EARLY},
}
NUMBER_REASONS["no_price_dollars"] = NUMBER_REASONS["yes_price_dollars"]
NUMBER_REASONS["yes_price_fixed"] = NUMBER_REASONS["yes_price_dollars"]
NUMBER_REASONS["no_price_fixed"] = NUMBER_REASONS["yes_price_dollars"]
NUMBER_REASONS["no_price"] = NUMBER_REASONS["yes_price"]
NUMBERS = [
    *((CURRENT, key) for key in NUMBER_REASONS if key in CURRENT),
    *((TRANSITIONAL, key) for key in ("count_fp", "count", "yes_price_dollars", "yes_price_fixed")),
    *((FIXED_ONLY, key) for key in ("yes_price_fixed", "no_price_fixed", "yes_price")),
    *((README_ERA, key) for key in ("count", "yes_price", "no_price")),
]


def broken(payload: dict[str, Any], key: str, literal: str) -> Fill | Rejected:
    text = json.dumps(payload | {key: "HERE"}).replace('"HERE"', literal)
    (item,), _ = decode_listing(f"[{text}]", "fills")
    return read_item(item.value, item.text, "live", NOW)


@pytest.mark.parametrize("what", BROKEN_VALUES)
def test_one_broken_number_condemns_a_fill(what: str) -> None:
    for payload, key in NUMBERS:
        outcome = broken(payload, key, BROKEN_VALUES[what])
        assert isinstance(outcome, Rejected), (key, outcome[:10])
        assert outcome.reason in NUMBER_REASONS[key], (key, outcome.reason)
        assert outcome.claims_fill


@pytest.mark.parametrize("empty", ['""', "null"])
def test_an_empty_number_counts_as_absent(empty: str) -> None:
    for payload, key in NUMBERS:
        outcome = broken(payload, key, empty)
        gone = read(without(payload, key))
        if isinstance(gone, Fill):
            assert outcome._replace(raw_json="") == gone._replace(raw_json=""), key
        else:
            assert isinstance(outcome, Rejected), key
            assert outcome.reason is gone.reason


def test_ten_megabytes_of_text_where_an_id_was_due_are_refused() -> None:
    long = '"' + "x" * 10_000_000 + '"'
    for key in ("fill_id", "order_id", "ticker"):
        outcome = broken(CURRENT, key, long)
        assert isinstance(outcome, Rejected), key
        assert outcome.reason is Reason.TEXT_TOO_LONG


@pytest.mark.parametrize("key", ["fill_id", "trade_id", "order_id", "ticker", "market_ticker"])
@pytest.mark.parametrize("value", [5, True, ["a"], {"a": "b"}])
def test_an_id_or_ticker_that_is_no_text_condemns_a_fill(key: str, value: object) -> None:
    wanted = Reason.TICKER_UNREADABLE if "ticker" in key else Reason.ID_UNREADABLE
    assert reason_of(CURRENT | {key: value}) is wanted


# Time


@pytest.mark.parametrize(
    ("sent", "micros"),
    [
        ("2026-11-20T14:31:09Z", 0),
        ("2026-11-20T14:31:09.5Z", 500_000),
        ("2026-11-20T14:31:09.59399Z", 593_990),
        ("2026-11-20T14:31:09.000001Z", 1),
        ("2026-11-20T14:31:09.123456789Z", 123_456),
        ("2026-11-20T15:31:09.25+01:00", 250_000),
        ("2026-11-20T09:31:09-05:00", 0),
    ],
)
def test_event_time_is_exact_to_the_microsecond_in_any_zone(sent: str, micros: int) -> None:
    fill = fill_of(CURRENT | {"created_time": sent})
    assert fill.executed_at == datetime(2026, 11, 20, 14, 31, 9, micros, tzinfo=UTC)
    assert fill.executed_at.utcoffset() == timedelta(0)


@pytest.mark.parametrize("key", ["created_time", "ts", "timestamp"])
@pytest.mark.parametrize(
    ("sent", "micros"), [(1795185069, 0), (1795185069000, 0), (1795185069123, 123_000)]
)
def test_epoch_numbers_are_seconds_or_milliseconds(key: str, sent: int, micros: int) -> None:
    fill = fill_of(without(CURRENT, "created_time", "ts") | {key: sent})
    assert fill.executed_at == datetime(2026, 11, 20, 14, 31, 9, micros, tzinfo=UTC)


def test_created_time_wins_over_ts_and_ts_over_timestamp() -> None:
    times = {"created_time": "2026-11-20T14:31:09.5Z", "ts": 1795185070, "timestamp": 1795185071}
    assert fill_of(CURRENT | times).executed_at.microsecond == 500_000
    times["created_time"] = None
    assert fill_of(CURRENT | times).executed_at.second == 10


@pytest.mark.parametrize(
    "sent",
    [
        *("2026-02-31T00:00:00Z", "2026-11-20 14:31:09Z", "2026-11-20", "2026-11-20T14:31:09"),
        *("0000-01-01T00:00:00Z", "0001-01-01T00:00:00+10:00", "20261120T143109Z", "1795185069"),
        *("2026-11-20T14:31:09+99:00", "\u0662026-11-20T14:31:09Z", ""),
        pytest.param("x" * 10_000_000, id="10 MB of text"),
        *(0, -1795185069, 10**18, 10**400, 1795185069.5, True, [1795185069], {}),
    ],
)
def test_a_time_that_is_no_instant_is_never_guessed_from_the_clock(sent: object) -> None:
    payload = without(CURRENT, "ts") | {"created_time": sent}
    assert reason_of(payload) in (Reason.TIME_UNREADABLE, Reason.NO_EVENT_TIME)


@pytest.mark.parametrize(
    ("moment", "reason"),
    [
        (datetime(2021, 1, 1, tzinfo=UTC), Reason.TIME_TOO_EARLY),
        (datetime(2021, 1, 1, microsecond=1, tzinfo=UTC), None),
        (NOW + timedelta(minutes=5), None),
        (NOW + timedelta(minutes=5, microseconds=1), Reason.TIME_IN_THE_FUTURE),
    ],
)
def test_event_time_is_gated_on_both_sides(moment: datetime, reason: Reason | None) -> None:
    outcome = read(CURRENT | {"created_time": moment.isoformat()})
    assert (outcome.reason if isinstance(outcome, Rejected) else None) is reason


def test_a_refused_item_keeps_its_event_time_where_one_can_be_read() -> None:
    outcome = read(CURRENT | {"count_fp": "many"})
    assert isinstance(outcome, Rejected)
    assert outcome.executed_at == datetime(2026, 11, 20, 14, 31, 9, 417, tzinfo=UTC)
    outcome = read(CURRENT | {"created_time": "yesterday"})
    assert isinstance(outcome, Rejected)
    assert outcome.executed_at == datetime(2026, 11, 20, 14, 31, 9, tzinfo=UTC)
    outcome = read(without(CURRENT, "ts") | {"created_time": "yesterday"})
    assert isinstance(outcome, Rejected)
    assert outcome.executed_at is None


# Direction


@pytest.mark.parametrize("action", ["buy", "sell", "", None, "anything"])
@pytest.mark.parametrize(("outcome", "book"), [("yes", "bid"), ("no", "ask")])
def test_action_never_changes_the_direction(outcome: str, book: str, action: str | None) -> None:
    for sent in (
        {"outcome_side": outcome, "book_side": book},
        {"outcome_side": outcome, "book_side": None},
        {"outcome_side": None, "book_side": book},
        {"outcome_side": outcome, "book_side": book, "side": "yes"},
        {"outcome_side": outcome, "book_side": book, "side": "no"},
    ):
        fill = fill_of(CURRENT | sent | {"action": action})
        assert (fill.outcome, fill.direction_inferred) == (outcome, False)
        assert fill.action == (action or "")
        assert fill.yes_price_dollars == Decimal("0.61")


@pytest.mark.parametrize("action", ["buy", "sell"])
@pytest.mark.parametrize("side", ["yes", "no"])
def test_side_alone_tells_the_outcome_and_is_marked_as_inferred(side: str, action: str) -> None:
    payload = without(CURRENT, "outcome_side", "book_side") | {"side": side, "action": action}
    fill = fill_of(payload)
    assert (fill.outcome, fill.direction_inferred) == (side, True)


@pytest.mark.parametrize(
    "sent",
    [{"outcome_side": "yes", "book_side": "ask"}, {"outcome_side": "no", "book_side": "bid"}],
)
def test_outcome_and_book_side_must_agree(sent: dict[str, str]) -> None:
    assert reason_of(CURRENT | sent) is Reason.DIRECTION_CONTRADICTS


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *itertools.product(("outcome_side", "book_side", "side"), ("YES", "both")),
        *itertools.product(
            ("outcome_side", "book_side", "side", "action"), (1, True, ["yes"], {"yes": 1})
        ),
    ],
)
def test_a_direction_that_is_no_direction_is_refused(key: str, value: object) -> None:
    assert reason_of(CURRENT | {key: value}) is Reason.DIRECTION_UNREADABLE


# Identity


def test_an_item_without_identity_gets_one_of_its_content() -> None:
    fill = fill_of(NAKED)
    assert fill.id_synthetic
    assert fill.fill_id
    backwards = fill_of(dict(reversed(NAKED.items())))
    assert backwards.fill_id == fill.fill_id
    assert fill_of(NAKED).fill_id == fill.fill_id
    for change in (
        {"order_id": "o-2"},
        {"created_time": "2026-11-20T14:31:09.000001Z"},
        {"count_fp": "1.01"},
        {"yes_price_dollars": "0.5001"},
        {"outcome_side": "no"},
        {"ticker": "KXOTHER"},
    ):
        assert fill_of(NAKED | change).fill_id != fill.fill_id


def test_the_same_numbers_spelled_otherwise_make_the_same_synthetic_id() -> None:
    spelled = NAKED | {"count_fp": "1", "yes_price_dollars": "0.50"}
    assert fill_of(spelled).fill_id == fill_of(NAKED).fill_id
    cents = without(NAKED, "yes_price_dollars") | {"yes_price": 50}
    assert fill_of(cents).fill_id == fill_of(NAKED).fill_id


def test_fill_id_wins_over_trade_id_and_an_empty_one_is_absent() -> None:
    assert fill_of(CURRENT | {"trade_id": "t"}).fill_id == CURRENT["fill_id"]
    fill = fill_of(CURRENT | {"fill_id": "", "trade_id": "t"})
    assert (fill.fill_id, fill.id_synthetic) == ("t", False)


def test_one_id_on_two_orders_is_two_fills() -> None:
    assert fill_of(CURRENT).key != fill_of(CURRENT | {"order_id": "another"}).key


@pytest.mark.parametrize(
    "text",
    [
        "'; DROP TABLE mm_fills; --",
        "tab\tnewline\nnul\0back\\slash`quote'\"",
        "{fill_id:String}",
        "\U0001f9ff\u00e9\u4e2d\u202e\ufeff",
        "%s %(x)s {0}",
    ],
)
def test_hostile_text_is_kept_as_it_came(text: str) -> None:
    fill = fill_of(CURRENT | {"ticker": text, "fill_id": text, "order_id": text, "action": text})
    assert (fill.ticker, fill.fill_id, fill.order_id, fill.action) == (text, text, text, text)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("fill_id", Reason.ID_UNREADABLE),
        ("trade_id", Reason.ID_UNREADABLE),
        ("order_id", Reason.ID_UNREADABLE),
        ("client_order_id", Reason.ID_UNREADABLE),
        ("ticker", Reason.TICKER_UNREADABLE),
        ("market_ticker", Reason.TICKER_UNREADABLE),
        ("action", Reason.DIRECTION_UNREADABLE),
        ("outcome_side", Reason.DIRECTION_UNREADABLE),
        ("count_fp", Reason.QUANTITY_UNREADABLE),
        ("created_time", Reason.TIME_UNREADABLE),
    ],
)
def test_half_a_character_is_refused_where_text_is_stored(key: str, reason: Reason) -> None:
    assert reason_of(CURRENT | {key: "KX\ud83d"}) is reason


def test_half_a_character_in_a_key_or_an_unread_value_does_no_harm() -> None:
    outcome = read({"\ud83d": 1, "fill_id": "f"})
    assert isinstance(outcome, Rejected)
    assert [key.encode() for key in outcome.keys] == [b"\\ud83d", b"fill_id"]
    assert fill_of(CURRENT | {"note": "\ud83d"}).raw_json.isascii()


# Fingerprints


def test_a_fingerprint_is_of_the_content_in_whatever_order() -> None:
    one = read({"a": 1, "b": {"c": [1, 2.5], "d": None}})
    same = read({"b": {"d": None, "c": [1, 2.5]}, "a": 1})
    assert isinstance(one, Rejected)
    assert isinstance(same, Rejected)
    assert one.fingerprint == same.fingerprint
    assert len(one.fingerprint) == 32
    prints = {one.fingerprint}
    for other in (
        {"a": 1, "b": {"c": [2.5, 1], "d": None}},
        {"a": True, "b": {"c": [1, 2.5], "d": None}},
        {"a": "1", "b": {"c": [1, 2.5], "d": None}},
        {"a": 1, "b": {"c": [1, "2.5"], "d": None}},
        {"a": 1, "b": {"c": [1, 2.5]}},
    ):
        outcome = read(other)
        assert isinstance(outcome, Rejected)
        prints.add(outcome.fingerprint)
    assert len(prints) == 6


def test_an_item_nested_without_end_is_refused_not_fatal() -> None:
    nested: Any = CURRENT
    for _ in range(5000):
        nested = [nested]
    text = "[" * 5000 + "]" * 5000
    assert isinstance(read_item(nested, text, "live", NOW), Rejected)
    outcome = read_item(CURRENT | {"status": nested}, text, "live", NOW)
    assert isinstance(outcome, Rejected)
    assert outcome.reason is Reason.LOOKS_LIKE_ORDER


def test_an_item_with_two_faults_falls_for_the_same_reason_in_every_process() -> None:
    item = CURRENT | {"trade_id": 5, "market_ticker": 5, "ts": "x", "side": "x", "price": -1}
    code = (
        "import json, sys; from datetime import UTC, datetime;"
        "from kalshi_fills.pipeline.parse import read_item;"
        "item = json.load(sys.stdin);"
        "print(read_item(item, '', 'live', datetime.now(UTC)).reason)"
    )
    reasons = {
        subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps(item),
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parent.parent)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3", "4")
    }
    assert len(reasons) == 1


# Anything at all


known_dicts = st.dictionaries(
    st.sampled_from(sorted(KNOWN_KEYS | {"status", "rfq_id", "realized_pnl"})),
    scalars | anything,
    max_size=20,
)


def holds_as_a_fill(fill: Fill) -> bool:
    """What must be true of anything stored, said once more in other words."""
    cents = [fill.yes_price_dollars * 10**6, fill.no_price_dollars * 10**6]
    return (
        gate(fill, NOW) is None
        and fill.yes_price_dollars + fill.no_price_dollars == 1
        and 0 < fill.yes_price_dollars < 1
        and all(price == int(price) for price in cents)
        and fill.contracts > 0
        and fill.contracts * 100 == int(fill.contracts * 100)
        and fill.outcome in ("yes", "no")
        and bool(fill.fill_id and fill.order_id and fill.ticker)
        and datetime(2021, 1, 1, tzinfo=UTC) < fill.executed_at <= NOW + timedelta(minutes=5)
        and fill.executed_at.tzinfo is UTC
        and (fill.fee_dollars is None or fill.fee_dollars >= 0)
        and all(text.encode() is not None for text in (fill.fill_id, fill.order_id, fill.ticker))
    )


@settings(max_examples=200, deadline=None)
@given(anything | known_dicts)
def test_any_json_is_a_fill_or_a_refusal_and_never_an_error(item: Any) -> None:
    outcome = read_item(item, "{}", "historical", NOW)
    if isinstance(outcome, Fill):
        assert holds_as_a_fill(outcome)
    else:
        assert isinstance(outcome, Rejected)
        assert outcome.stage is STAGE_OF[outcome.reason]
        assert len(outcome.fingerprint) == 32
        "".join(outcome.keys).encode()


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(list(ERAS.values())),
    st.lists(
        st.tuples(
            st.sampled_from(sorted(KNOWN_KEYS)),
            anything
            | st.decimals(-2, 2, places=7).map(str)
            | st.integers(-2, 200)
            | st.sampled_from(["0.00", "1.00", "yes", "no", "bid", "ask", "-0", "0.0000001"])
            | st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
        ),
        min_size=1,
        max_size=3,
    ),
    st.randoms(use_true_random=False),
)
def test_a_mutated_fill_is_stored_only_if_it_still_holds(
    payload: dict[str, Any], changes: list[tuple[str, Any]], random: Any
) -> None:
    value, text = decoded(payload)
    mutated = {**value, **dict(changes)}
    keys = list(mutated)
    random.shuffle(keys)
    outcome = read_item(mutated, text, "live", NOW)
    shuffled = read_item({key: mutated[key] for key in keys}, text, "live", NOW)
    if isinstance(outcome, Fill):
        assert holds_as_a_fill(outcome)
        assert shuffled == outcome
    else:
        assert isinstance(shuffled, Rejected)
        assert shuffled.fingerprint == outcome.fingerprint
