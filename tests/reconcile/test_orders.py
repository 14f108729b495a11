"""What is read of the account's orders, for whoever holds fills against them."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.commandline import KEY_ID, Account

from kalshi_fills.exchange import endpoints as account
from kalshi_fills.exchange import records
from kalshi_fills.exchange.endpoints import Exchange
from kalshi_fills.exchange.signing import Signer
from kalshi_fills.pipeline.values import decode_item
from kalshi_fills.pipeline.window import Window
from kalshi_fills.practice.account import generate_account
from kalshi_fills.practice.exchange import PracticeExchange

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

ORDER: dict[str, Any] = {
    "order_id": "o-1",
    "ticker": "KXA-1",
    "created_time": "2026-11-22T10:00:00Z",
    "fill_count_fp": "3.00",
}


@pytest.mark.parametrize(
    ("told", "updated"),
    [
        ("2026-11-22T10:00:05.25Z", datetime(2026, 11, 22, 10, 0, 5, 250_000, UTC)),
        ("2026-11-22T11:00:05+01:00", datetime(2026, 11, 22, 10, 0, 5, tzinfo=UTC)),
        (None, None),
        ("", None),
        ("yesterday", None),
        ("0001-01-01T00:00:00Z", None),
        (True, None),
        ({"at": 1}, None),
    ],
)
def test_an_order_carries_when_it_was_last_updated(told: Any, updated: datetime | None) -> None:
    order = records.read_order(json.dumps({**ORDER, "last_update_time": told}))
    assert order is not None
    assert order.updated_at == updated
    assert order.updated_at is None or order.updated_at.tzinfo is UTC


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("order_id", ""),
        ("order_id", "é"),
        ("order_id", "\ud83d"),
        ("ticker", None),
        ("created_time", "2026-11-22T11:00:05+01:00"),
        ("created_time", "0001-01-01T00:00:00+05:00"),
        ("created_time", "2026-11-22T10:00:05"),
        ("created_time", "yesterday"),
        ("created_time", 1795341605),
        ("created_time", "2026-11-22T10:00:05.5Z"),
        ("fill_count_fp", "1e2"),
        ("fill_count_fp", 3),
        ("maker_fees_dollars", None),
        ("taker_fees_dollars", "-0.5"),
        ("last_update_time", 5),
        ("new_key", {"a": [1]}),
    ],
)
def test_an_order_of_today_is_read_as_any_order(key: str, value: object) -> None:
    item = json.dumps({**ORDER, key: value})
    order = records.read_order(item)
    assert order == records._read_any_order(decode_item(item))
    assert order is None or order.created_at.tzinfo is UTC


def test_an_order_nested_too_deep_is_unreadable_and_nothing_worse() -> None:
    nested = "[" * 100_000 + "]" * 100_000
    assert records.read_order(f'{json.dumps(ORDER)[:-1]}, "new_key": {nested}}}') is None


def test_an_order_without_an_update_time_is_an_order() -> None:
    order = records.read_order(json.dumps(ORDER))
    assert order is not None
    assert order.updated_at is None


def test_the_practice_orders_carry_their_update_times(
    api_key: Account, serve: Callable[..., PracticeExchange]
) -> None:
    served = serve(
        generate_account(3, 40, start=NOW - timedelta(days=2), end=NOW), clock=NOW.timestamp
    )
    exchange = Exchange(served.url, Signer(KEY_ID, api_key.key), clock=NOW.timestamp)
    with closing(exchange):
        read = [one for page in account.orders(exchange, Window(None, NOW)) for one in page]
    assert read
    assert all(one.updated_at is not None and one.updated_at >= one.created_at for one in read)
