"""Items of every era, read one at a time."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from kalshi_fills.exchange.decode import decode_listing
from kalshi_fills.pipeline.fills import (
    Fill,
    Reason,
    Rejected,
)
from kalshi_fills.pipeline.parse import read_item
from support.fills import Values, values_of
from support.payloads import NOW

NAKED: dict[str, Any] = {
    "order_id": "o-1",
    "created_time": "2026-11-20T14:31:09Z",
    "count_fp": "1.00",
    "yes_price_dollars": "0.5000",
    "outcome_side": "yes",
    "ticker": "KXNAKED",
}


def text_of(payload: Any) -> str:
    """The payload as the tool meets it: the text of an item of a listing."""
    (item,), _ = decode_listing(json.dumps([payload]), "fills")
    return item


def read(payload: Any, now: datetime = NOW) -> Fill | Rejected:
    return read_item(text_of(payload), "live", now)


def fill_of(payload: Any) -> Values:
    outcome = read(payload)
    assert isinstance(outcome, Fill), outcome.reason
    return values_of(outcome)


def reason_of(payload: Any) -> Reason:
    outcome = read(payload)
    assert isinstance(outcome, Rejected), outcome
    return outcome.reason


def without(payload: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in payload.items() if key not in keys}


PRICES = ("yes_price_dollars", "no_price_dollars")
