"""Each reason for which an item is refused, each era, and each look-alike."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.fills import values_of
from support.items import NAKED, PRICES, fill_of, read, reason_of, without
from support.payloads import (
    CURRENT,
    ERAS,
    NOW,
    README_ERA,
    TRANSITIONAL,
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
    gate,
)
from kalshi_fills.pipeline.parse import read_item

SHARED = Path(__file__).parents[3] / "shared" / "kalshi"


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
    (Reason.TEXT_TOO_LONG, CURRENT | {"client_order_id": "c" * 1024}, True),
    (Reason.TIME_TOO_EARLY, CURRENT | {"created_time": "2021-01-01T00:00:00Z"}, True),
    (Reason.TIME_IN_THE_FUTURE, CURRENT | {"created_time": "2026-11-23T12:05:00.000001Z"}, True),
]


GIVEN_BY_A_PASS = {Reason.CONTRADICTS_ANOTHER_REPORT}
"""No item falls for these by itself."""


UNMET_BY_ITEMS: dict[Reason, dict[str, Any]] = {
    # Reading an item never makes such a fill.
    Reason.SIDE_OUT_OF_RANGE: {"side": "bid"},
    Reason.ID_EMPTY: {"fill_id": ""},
}


# Every reason


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
    fill = fill_of(CURRENT).fill
    assert gate(fill, NOW) is None
    assert gate(fill._replace(content=fill.content._replace(**change)), NOW) is reason


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
        assert fill.content.book_side == "ask"
        assert fill.price_dollars == fill.no_price_dollars


@pytest.mark.skipif(not SHARED.is_dir(), reason="no folder of recorded payloads beside the project")
def test_recorded_payloads_are_fills_and_other_objects_are_not() -> None:
    for path in sorted(SHARED.glob("*/fills*.json")):
        items, _ = decode_listing(path.read_text(), "fills")
        assert items
        for item in items:
            outcome, value = read_item(item, "live", NOW), json.loads(item)
            assert isinstance(outcome, Fill), (path.name, outcome)
            fill = values_of(outcome)
            if "yes_price_dollars" in value:
                assert fill.yes_price_dollars == Decimal(value["yes_price_dollars"])
            assert fill.contracts == Decimal(value.get("count_fp") or value["count"])
            assert fill.outcome == value.get("outcome_side", value.get("side"))
    recorded, _ = decode_listing((SHARED / "recorded/fills.json").read_text(), "fills")
    outcomes = [read_item(item, "live", NOW) for item in recorded]
    fills = [values_of(one) for one in outcomes if isinstance(one, Fill)]
    assert sum(fill.contracts for fill in fills) == 3
    assert sum(fill.fee_dollars or 0 for fill in fills) == Decimal("0.0189")
    for name in ("orders", "trades", "settlements"):
        for path in SHARED.glob(f"*/{name}.json"):
            items, _ = decode_listing(path.read_text(), name)
            for item in items:
                assert isinstance(read_item(item, "live", NOW), Rejected)


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


# Look-alikes, with the fields each object has


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
    reasons = set()
    for depth in (*range(800, 1_000), 200_000):
        nested = "[" * depth + "]" * depth
        assert isinstance(read_item(nested, "live", NOW), Rejected)
        outcome = read_item(json.dumps(CURRENT)[:-1] + f', "status": {nested}}}', "live", NOW)
        assert isinstance(outcome, Rejected)
        reasons.add(outcome.reason)
    assert reasons == {Reason.LOOKS_LIKE_ORDER, Reason.NOT_AN_OBJECT}


def test_an_item_with_two_faults_falls_for_the_same_reason_in_every_process() -> None:
    item = CURRENT | {"trade_id": 5, "market_ticker": 5, "ts": "x", "side": "x", "price": -1}
    code = (
        "import sys; from datetime import UTC, datetime;"
        "from kalshi_fills.pipeline.parse import read_item;"
        "print(read_item(sys.stdin.read(), 'live', datetime.now(UTC)).reason)"
    )
    reasons = {
        subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps(item),
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3", "4")
    }
    assert len(reasons) == 1
