"""Things that are no fills but may come back where fills are expected.

Each item is what the exchange sends for another object (an order, a public trade, a quote, a
perpetual's fill, ...), a JSON value that is no object at all, or a fill with exactly one field
broken. Field names are the exchange's; values are invented from a seed. None of these may ever be
stored as a fill.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kalshi_fills.practice.ledger import SECOND_US, rfc3339, to_us

_INSTANT_US = to_us(datetime(2026, 11, 20, 12, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class JunkItem:
    """One item that is no fill, with its place in the listing."""

    kind: str
    value: Any
    """Any JSON value."""
    at_us: int


def hex_id(rng: random.Random) -> str:
    """Return a hash-like id; unlike a UUID its version and variant digits are arbitrary."""
    text = f"{rng.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _ticker(rng: random.Random) -> str:
    return f"KXLOOKALIKE-26NOV{rng.randrange(1, 29):02d}-T{rng.randrange(100)}"


def _instant(rng: random.Random) -> str:
    return rfc3339(_INSTANT_US - rng.randrange(86_400 * SECOND_US))


def _prices(rng: random.Random) -> dict[str, str]:
    cents = rng.randrange(1, 100)
    return {
        "yes_price_dollars": f"0.{cents:02d}00",
        "no_price_dollars": f"0.{100 - cents:02d}00",
    }


def _contracts(rng: random.Random) -> str:
    return f"{rng.randrange(1, 500)}.{rng.randrange(100):02d}"


def _direction(rng: random.Random) -> dict[str, str]:
    side, book = rng.choice((("yes", "bid"), ("no", "ask")))
    return {"side": side, "outcome_side": side, "book_side": book}


def _order(rng: random.Random) -> dict[str, Any]:
    count = _contracts(rng)
    return {
        **_direction(rng),
        **_prices(rng),
        "action": "buy",
        "client_order_id": f"mm-{rng.getrandbits(32):08x}",
        "created_time": _instant(rng),
        "exchange_index": 0,
        "expiration_time": None,
        "fill_count_fp": "0.00",
        "initial_count_fp": count,
        "last_update_time": _instant(rng),
        "maker_fees_dollars": "0.000000",
        "maker_fill_cost_dollars": "0.000000",
        "order_id": hex_id(rng),
        "remaining_count_fp": count,
        "self_trade_prevention_type": "taker_at_cross",
        "status": rng.choice(("resting", "canceled", "executed")),
        "subaccount_number": 0,
        "taker_fees_dollars": "0.000000",
        "taker_fill_cost_dollars": "0.000000",
        "ticker": _ticker(rng),
        "type": "limit",
        "user_id": hex_id(rng),
    }


def _create_order_response(rng: random.Random) -> dict[str, Any]:
    return {
        "average_fee_paid": "0.0000",
        "average_fill_price": f"0.{rng.randrange(1, 100):02d}00",
        "client_order_id": f"mm-{rng.getrandbits(32):08x}",
        "fill_count": "0.00",
        "order_id": hex_id(rng),
        "remaining_count": _contracts(rng),
        "ts_ms": (_INSTANT_US - rng.randrange(86_400 * SECOND_US)) // 1000,
    }


def _ws_user_order(rng: random.Random) -> dict[str, Any]:
    count = _contracts(rng)
    return {
        "client_order_id": f"mm-{rng.getrandbits(32):08x}",
        "created_ts_ms": (_INSTANT_US - rng.randrange(86_400 * SECOND_US)) // 1000,
        "fill_count_fp": "0.00",
        "initial_count_fp": count,
        "is_yes": bool(rng.getrandbits(1)),
        "order_id": hex_id(rng),
        "remaining_count_fp": count,
        "status": "resting",
        "ticker": _ticker(rng),
        "yes_price_dollars": _prices(rng)["yes_price_dollars"],
    }


def _margin_fill(rng: random.Random) -> dict[str, Any]:
    return {
        "count": _contracts(rng),
        "created_time": _instant(rng),
        "entry_price": f"{rng.randrange(90_000, 99_999)}.5000",
        "fees": "0.120000",
        "fill_id": hex_id(rng),
        "is_taker": bool(rng.getrandbits(1)),
        "order_id": hex_id(rng),
        "order_source": "user",
        "price": f"{rng.randrange(90_000, 99_999)}.2500",
        "realized_pnl": "-1.250000",
        "side": rng.choice(("bid", "ask")),
        "ticker": "KXBTCPERP",
    }


def _trade(rng: random.Random) -> dict[str, Any]:
    direction = _direction(rng)
    return {
        **_prices(rng),
        "count_fp": _contracts(rng),
        "created_time": _instant(rng),
        "is_block_trade": False,
        "taker_book_side": direction["book_side"],
        "taker_outcome_side": direction["outcome_side"],
        "taker_side": direction["side"],
        "ticker": _ticker(rng),
        "trade_id": hex_id(rng),
    }


def _fcm_fill(rng: random.Random) -> dict[str, Any]:
    return {
        "count_fp": _contracts(rng),
        "created_time": _instant(rng),
        "exchange_index": 0,
        "fill_id": hex_id(rng),
        "maker_fee_cost": "0.000000",
        "maker_order_id": hex_id(rng),
        "maker_subtrader_id": "desk-1",
        "taker_fee_cost": "0.017500",
        "taker_order_id": hex_id(rng),
        "taker_outcome_side": rng.choice(("yes", "no")),
        "taker_subtrader_id": "desk-2",
        "ticker": _ticker(rng),
        "yes_price_dollars": _prices(rng)["yes_price_dollars"],
    }


def _settlement(rng: random.Random) -> dict[str, Any]:
    ticker = _ticker(rng)
    return {
        "event_ticker": ticker.rpartition("-")[0],
        "exchange_index": 0,
        "fee_cost": "0.350000",
        "market_result": rng.choice(("yes", "no")),
        "no_count_fp": "0.00",
        "no_total_cost_dollars": "0.000000",
        "revenue": rng.randrange(0, 5000),
        "settled_time": _instant(rng),
        "ticker": ticker,
        "value": 100,
        "yes_count_fp": _contracts(rng),
        "yes_total_cost_dollars": "10.000000",
    }


def _quote(rng: random.Random) -> dict[str, Any]:
    return {
        "accepted_side": "yes",
        "contracts_fp": _contracts(rng),
        "created_ts": _instant(rng),
        "creator_id": hex_id(rng),
        "creator_order_id": hex_id(rng),
        "id": hex_id(rng),
        "market_ticker": _ticker(rng),
        "no_bid_dollars": "0.3900",
        "rest_remainder": False,
        "rfq_creator_id": hex_id(rng),
        "rfq_creator_order_id": hex_id(rng),
        "rfq_id": hex_id(rng),
        "status": "executed",
        "updated_ts": _instant(rng),
        "yes_bid_dollars": "0.6000",
    }


def _rfq(rng: random.Random) -> dict[str, Any]:
    return {
        "contracts_fp": _contracts(rng),
        "created_ts": _instant(rng),
        "creator_id": hex_id(rng),
        "id": hex_id(rng),
        "market_ticker": _ticker(rng),
        "mve_collection_ticker": "KXMVELOOKALIKE",
        "mve_selected_legs": [],
        "rest_remainder": True,
        "status": "open",
        "target_cost_dollars": "25.0000",
        "updated_ts": _instant(rng),
    }


def _block_trade_proposal(rng: random.Random) -> dict[str, Any]:
    return {
        "buyer_accepted": True,
        "buyer_order_id": hex_id(rng),
        "buyer_user_id": hex_id(rng),
        "centicount": rng.randrange(100, 1_000_000),
        "created_ts": _instant(rng),
        "executed_ts": _instant(rng),
        "expiration_ts": _instant(rng),
        "id": hex_id(rng),
        "maker_side": "yes",
        "market_ticker": _ticker(rng),
        "price_centi_cents": rng.randrange(1, 10_000),
        "proposer_user_id": hex_id(rng),
        "seller_accepted": True,
        "seller_order_id": hex_id(rng),
        "seller_user_id": hex_id(rng),
        "status": "executed",
        "updated_ts": _instant(rng),
    }


def _market_position(rng: random.Random) -> dict[str, Any]:
    return {
        "exchange_index": 0,
        "fees_paid_dollars": "0.204877",
        "last_updated_ts": _instant(rng),
        "market_exposure_dollars": "3.025000",
        "position_fp": _contracts(rng),
        "realized_pnl_dollars": "0.270000",
        "ticker": _ticker(rng),
        "total_traded_dollars": "5.500000",
    }


def _deposit(rng: random.Random) -> dict[str, Any]:
    at_s = (_INSTANT_US - rng.randrange(86_400 * SECOND_US)) // SECOND_US
    return {
        "amount_cents": rng.randrange(100, 1_000_000),
        "created_ts": at_s,
        "fee_cents": 0,
        "finalized_ts": at_s + 60,
        "id": hex_id(rng),
        "status": "applied",
        "type": "ach",
    }


def _market_snapshot(rng: random.Random) -> dict[str, Any]:
    bid = rng.randrange(1, 98)
    return {
        "last_price": bid,
        "no_ask": 100 - bid,
        "no_bid": 99 - bid,
        "open_interest": rng.randrange(100_000),
        "status": "active",
        "ticker": _ticker(rng),
        "ts": _INSTANT_US // SECOND_US,
        "volume": rng.randrange(1_000_000),
        "yes_ask": bid + 1,
        "yes_bid": bid,
    }


def _whole_fill(rng: random.Random) -> dict[str, Any]:
    """Return a fill in today's shape with nothing wrong, for one field to be broken."""
    fill_id, ticker = hex_id(rng), _ticker(rng)
    at_us = _INSTANT_US - rng.randrange(86_400 * SECOND_US)
    return {
        **_direction(rng),
        **_prices(rng),
        "action": "buy",
        "count_fp": _contracts(rng),
        "created_time": rfc3339(at_us),
        "exchange_index": 0,
        "fee_cost": "0.000000",
        "fill_id": fill_id,
        "is_taker": False,
        "market_ticker": ticker,
        "order_id": hex_id(rng),
        "subaccount_number": 0,
        "ticker": ticker,
        "trade_id": fill_id,
        "ts": at_us // SECOND_US,
    }


_BREAKS: dict[str, dict[str, Any]] = {
    "order_id_null": {"order_id": None},
    "order_id_empty": {"order_id": ""},
    "time_garbage": {"created_time": "yesterday", "ts": None},
    "time_null": {"created_time": None, "ts": None},
    "time_far_future": {"created_time": "2999-01-01T00:00:00Z", "ts": 32_472_144_000},
    "count_zero": {"count_fp": "0.00"},
    "count_negative": {"count_fp": "-3.00"},
    "count_null": {"count_fp": None},
    "count_words": {"count_fp": "many"},
    "count_too_fine": {"count_fp": "0.001"},
    "price_zero": {"yes_price_dollars": "0.0000", "no_price_dollars": "1.0000"},
    "price_one": {"yes_price_dollars": "1.0000", "no_price_dollars": "0.0000"},
    "price_null": {"yes_price_dollars": None, "no_price_dollars": None},
    "price_nan": {"yes_price_dollars": "NaN", "no_price_dollars": "NaN"},
    "price_too_fine": {"yes_price_dollars": "0.1234567", "no_price_dollars": "0.8765433"},
    "prices_do_not_add_up": {"yes_price_dollars": "0.6000", "no_price_dollars": "0.6000"},
    "direction_contradicts": {"outcome_side": "yes", "book_side": "ask"},
    "ticker_empty": {"ticker": "", "market_ticker": ""},
}


def _broken(changes: dict[str, Any]) -> Callable[[random.Random], Any]:
    return lambda rng: _whole_fill(rng) | changes


_LOOK_ALIKES: dict[str, Callable[[random.Random], Any]] = {
    "order": _order,
    "create_order_response": _create_order_response,
    "ws_user_order": _ws_user_order,
    "margin_fill": _margin_fill,
    "trade": _trade,
    "fcm_fill": _fcm_fill,
    "settlement": _settlement,
    "quote": _quote,
    "rfq": _rfq,
    "block_trade_proposal": _block_trade_proposal,
    "market_position": _market_position,
    "deposit": _deposit,
    "market_snapshot": _market_snapshot,
    "null": lambda _rng: None,
    "number": lambda rng: rng.randrange(-1000, 1000),
    "string": lambda rng: f"item {rng.randrange(1000)}",
    "list": lambda rng: [rng.randrange(10), None, {}],
    "empty_object": lambda _rng: {},
}

_MAKERS = _LOOK_ALIKES | {f"broken_fill:{name}": _broken(how) for name, how in _BREAKS.items()}

LOOK_ALIKE_KINDS: tuple[str, ...] = tuple(_LOOK_ALIKES)
"""Kinds that are other objects or no objects."""
BROKEN_FILL_KINDS: tuple[str, ...] = tuple(k for k in _MAKERS if k not in _LOOK_ALIKES)
"""Kinds that carry a fill's identity, with one field broken."""
JUNK_KINDS: tuple[str, ...] = tuple(_MAKERS)


def junk_items(
    seed: int, n: int, *, kinds: tuple[str, ...] = JUNK_KINDS
) -> Iterator[tuple[str, Any]]:
    """Yield `n` (kind, JSON value) pairs, going round the kinds in order.

    Lazy; the same seed gives the same items. `n` of at least `len(kinds)` covers every kind.
    """
    rng = random.Random(seed)
    for number in range(n):
        kind = kinds[number % len(kinds)]
        yield kind, _MAKERS[kind](rng)
