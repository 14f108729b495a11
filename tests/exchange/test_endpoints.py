"""The account's limits, what is complete, and where the archive begins."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.wire import (
    NOW,
    ROOT_PATH,
    Answer,
    Connect,
    Request,
    Serve,
    Wired,
    account_of,
    authentication,
    failure,
    fill_ids,
    page,
    walked,
)

from kalshi_fills.exchange import paging
from kalshi_fills.exchange.endpoints import Exchange, settlements
from kalshi_fills.pipeline.window import Window
from kalshi_fills.practice.exchange import Limits


def told_limits(read: Any, costs: Any = None) -> Callable[[Request], Answer]:
    def script(request: Request) -> Answer:
        if request.path == "/account/limits":
            return Answer({}, 404) if read is None else Answer(read)
        if request.path == "/account/endpoint_costs":
            return Answer({}, 404) if costs is None else Answer(costs)
        return page()

    return script


def test_settlements_are_asked_for_by_subaccount_with_the_same_filters_on_every_page(
    wire: Wired, connect: Connect
) -> None:
    def script(request: Request) -> Answer:
        following = "" if "cursor" in request.query else "next"
        return page([{"ticker": request.query["subaccount"]}], following, "settlements")

    asked = wire(script)
    client = connect(asked)
    since = datetime(2026, 11, 20, 12, 0, 0, 999_999, tzinfo=UTC)

    found = [json.loads(one) for items in settlements(client, 7, since) for one in items]

    assert found == [{"ticker": "7"}] * 2
    wider = str(int(since.timestamp()) - 1)
    assert [(request.path, request.query) for request in asked.requests] == [
        ("/portfolio/settlements", {"subaccount": "7", "min_ts": wider, "limit": "1000"} | more)
        for more in ({}, {"cursor": "next"})
    ]
    list(settlements(client, 0, None))
    assert asked.requests[-1].query == {"subaccount": "0", "limit": "1000", "cursor": "next"}


def seconds_for(exchange: Exchange, requests: int) -> float:
    exchange.learn_limits()
    began = time.monotonic()
    for _ in range(requests):
        walked(exchange)
    return time.monotonic() - began


def test_the_pace_follows_the_account_s_own_limits(wire: Wired, connect: Connect) -> None:
    fast = wire(told_limits({"read": {"refill_rate": 100_000, "bucket_capacity": 100_000}}))
    slow = wire(told_limits({"read": {"refill_rate": 400, "bucket_capacity": 20}}))
    # 400 tokens a second, half of them ours, 10 a request: the 5 after the first wait 50 ms each.
    assert seconds_for(connect(slow, rate_share=0.5), 6) >= 0.22
    unhindered = connect(fast, rate_share=0.5)
    seconds_for(unhindered, 6)
    assert unhindered.pace.requests_a_second("/portfolio/fills") == 5_000


@pytest.mark.parametrize(
    "read",
    [
        None,
        {"usage_tier": "basic"},
        {"read": 20, "write": 10},
        {"read": {"refill_rate": "many", "bucket_capacity": None}},
        {"read": {"refill_rate": 0, "bucket_capacity": -1}},
    ],
    ids=["404", "no read", "flat numbers", "no numbers", "not positive"],
)
def test_limits_that_are_not_told_are_those_of_the_basic_tier(
    read: Any, wire: Wired, connect: Connect
) -> None:
    # 200 tokens a second, half of them ours, 10 a request, 10 requests at once.
    spent = seconds_for(connect(wire(told_limits(read)), rate_share=0.5), 14)
    assert 0.25 < spent < 120


def test_dearer_endpoints_are_paced_by_their_own_cost(wire: Wired, connect: Connect) -> None:
    read = {"read": {"refill_rate": 1000, "bucket_capacity": 100}}
    costs = {
        "default_cost": 10,
        "endpoint_costs": [
            {"method": "GET", "path": f"{ROOT_PATH}/portfolio/fills", "cost": 100},
            {"method": "POST", "path": f"{ROOT_PATH}/portfolio/fills", "cost": 1},
            "junk",
            {"method": "GET"},
        ],
    }
    # 1000 tokens a second, 100 a request: 10 a second.
    assert seconds_for(connect(wire(told_limits(read, costs)), rate_share=1.0), 5) >= 0.35


def test_a_paced_walk_is_never_throttled(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGE_LIMIT", 5)
    limits = Limits(refill_rate=1000, bucket_capacity=60)
    practice = serve(account_of(75), limits=limits, enforce_limits=True)
    exchange = connect(practice, rate_share=0.5)
    exchange.learn_limits()
    assert len(set(fill_ids(exchange))) == 75
    assert practice.throttled == 0


def test_a_key_refused_at_the_limits_ends_the_pass(wire: Wired, connect: Connect) -> None:
    server = wire(Answer(authentication("NOT_FOUND"), 401))
    assert "does not know this key id" in failure(connect(server).learn_limits).message


def test_as_of_is_the_time_told(serve: Serve, connect: Connect) -> None:
    told = connect(serve(account_of(3), as_of_lag_seconds=30)).as_of()
    assert told is not None
    assert told.utcoffset() == timedelta(0)
    assert 29 <= (datetime.now(UTC) - told).total_seconds() <= 150


@pytest.mark.parametrize(
    "answer",
    [
        Answer({}, 404),
        Answer({"error": {"message": "restricted"}}, 403),
        Answer({}),
        Answer({"as_of_time": None}),
        Answer({"as_of_time": 1795185069}),
        Answer({"as_of_time": "soon"}),
        Answer({"as_of_time": "2026-11-20T15:02:14"}),
        Answer({"as_of_time": "0001-01-01T00:00:00+10:00"}),
    ],
)
def test_as_of_is_none_where_it_is_not_to_be_had(
    answer: Answer, wire: Wired, connect: Connect
) -> None:
    assert connect(wire(answer)).as_of() is None


def test_a_key_of_one_subaccount_gets_its_fills_and_no_time(serve: Serve, connect: Connect) -> None:
    account = account_of(20)
    exchange = connect(serve(account, restricted_subaccount=1))
    assert exchange.as_of() is None
    own = {fill.fill_id for fill in account.fills if fill.subaccount == 1}
    assert set(fill_ids(exchange)) == own != set()


def test_no_historical_tier_is_no_error_and_a_cutoff_without_time_is_one(
    wire: Wired, connect: Connect
) -> None:
    assert connect(wire(Answer({}, 404))).cutoff() is None
    for body in ({}, {"trades_created_ts": None}, {"trades_created_ts": "soon"}):
        error = failure(connect(wire(Answer(body))).cutoff)
        assert "trades_created_ts" in error.message


def test_a_window_is_half_open() -> None:
    start, end = NOW - timedelta(hours=1), NOW
    window = Window(start, end)
    moment = timedelta(microseconds=1)
    assert window.holds(start)
    assert window.holds(end - moment)
    assert not window.holds(start - moment)
    assert not window.holds(end)
    assert Window(None, end).holds(datetime(1970, 1, 1, tzinfo=UTC))
