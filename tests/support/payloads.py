"""Payloads of every era, and anything else that may come instead."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

CURRENT: dict[str, Any] = {
    "action": "sell",
    "book_side": "ask",
    "count_fp": "4.50",
    "created_time": "2026-11-20T14:31:09.000417Z",
    "exchange_index": 2,
    "fee_cost": "0.074939",
    "fill_id": "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
    "is_taker": True,
    "market_ticker": "KXTEMP-26NOV20-B52.5",
    "no_price_dollars": "0.3900",
    "order_id": "11112222-3333-4444-5555-666677778888",
    "outcome_side": "no",
    "side": "no",
    "subaccount_number": 1,
    "ticker": "KXTEMP-26NOV20-B52.5",
    "trade_id": "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
    "ts": 1795185069,
    "yes_price_dollars": "0.6100",
}

SPARE: dict[str, Any] = {
    key: value
    for key, value in CURRENT.items()
    if key not in ("action", "side", "ts", "subaccount_number", "market_ticker")
}

TRANSITIONAL: dict[str, Any] = {
    "action": "sell",
    "client_order_id": "c-220",
    "count": 3,
    "count_fp": "3.75",
    "created_time": "2026-03-10T13:30:02.03Z",
    "fee_cost": "0.061900",
    "fill_id": "aaaa0000-1111-2222-3333-444455556666",
    "is_taker": True,
    "market_ticker": "KXCPI-26FEB-T2.6",
    "no_price": None,
    "no_price_dollars": "0.3800",
    "no_price_fixed": "0.3800",
    "order_id": "bbbb0000-1111-2222-3333-444455556666",
    "price": None,
    "side": "no",
    "subaccount_number": 0,
    "ticker": "KXCPI-26FEB-T2.6",
    "trade_id": "aaaa0000-1111-2222-3333-444455556666",
    "ts": 1773149402,
    "yes_price": None,
    "yes_price_dollars": "0.6200",
    "yes_price_fixed": "0.6200",
}

FIXED_ONLY: dict[str, Any] = {
    key: value
    for key, value in (TRANSITIONAL | {"yes_price": 5, "no_price": 94, "price": 0.05}).items()
    if key not in ("yes_price_dollars", "no_price_dollars")
} | {"yes_price_fixed": "0.0550", "no_price_fixed": "0.9450"}

LEGACY: dict[str, Any] = {
    "action": "buy",
    "client_order_id": "entry-0007",
    "count": 10,
    "created_time": "2025-11-02T23:55:01.5Z",
    "fill_id": "cccc0000-1111-2222-3333-444455556666",
    "is_taker": False,
    "market_ticker": "KXGAME-25NOV02-LAL",
    "no_price": 59,
    "no_price_fixed": "0.5900",
    "order_id": "dddd0000-1111-2222-3333-444455556666",
    "price": 0.41,
    "side": "yes",
    "ticker": "KXGAME-25NOV02-LAL",
    "trade_id": "cccc0000-1111-2222-3333-444455556666",
    "ts": 1762127701,
    "yes_price": 41,
    "yes_price_fixed": "0.4100",
}

README_ERA: dict[str, Any] = {
    "action": "sell",
    "count": 25,
    "created_time": "2024-06-14T17:45:09.1Z",
    "is_taker": False,
    "no_price": 48,
    "order_id": "eeee0000-1111-2222-3333-444455556666",
    "side": "no",
    "ticker": "KXINX-24JUN14-B5412",
    "trade_id": "ffff0000-1111-2222-3333-444455556666",
    "yes_price": 52,
}

PUSHED: dict[str, Any] = {
    "trade_id": "1234abcd-1111-2222-3333-444455556666",
    "order_id": "5678abcd-1111-2222-3333-444455556666",
    "market_ticker": "KXPUSH-26NOV20-T1",
    "exchange_index": 0,
    "is_taker": True,
    "side": "yes",
    "action": "buy",
    "purchased_side": "yes",
    "outcome_side": "yes",
    "book_side": "bid",
    "yes_price_dollars": "0.7500",
    "count_fp": "2.00",
    "fee_cost": "0.026300",
    "ts": 1795185069,
    "ts_ms": 1795185069123,
    "client_order_id": "mm-1",
    "post_position_fp": "12.00",
    "subaccount": 3,
}

ERAS = {
    "current": CURRENT,
    "current, required fields only": SPARE,
    "transitional": TRANSITIONAL,
    "fixed strings only": FIXED_ONLY,
    "legacy": LEGACY,
    "readme era": README_ERA,
    "pushed over the socket": PUSHED,
}

texts = st.text(max_size=12) | st.sampled_from(["", "yes", "no", "bid", "ask", "0.5", "\ud800"])

numbers = (
    st.integers()
    | st.decimals()
    | st.sampled_from([Decimal("1e400"), Decimal("-1e1000000"), Decimal("1e-1000000"), 10**400])
)

scalars = st.none() | st.booleans() | numbers | texts

anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
