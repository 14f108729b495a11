"""Rate limits, costs and waits that no account can have: nothing hangs, nothing is silent."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from support.rawserver import RawServer, answer, serving

from kalshi_fills.errors import ExchangeError
from kalshi_fills.exchange import pacing
from kalshi_fills.exchange.client import RetryBudget
from kalshi_fills.exchange.endpoints import Exchange

QUICK = RetryBudget(seconds=5, attempts=3, first_wait_seconds=0.001, longest_wait_seconds=0.003)
BASIC = {"refill_rate": 200, "bucket_capacity": 600}


def answering(read: Any, costs: Any = None, as_of: Any = None) -> Callable[..., None]:
    def script(head: str, connection: Any) -> None:
        path = head.split()[1].split("?")[0]
        if path.endswith("/account/limits"):
            connection.sendall(answer({"read": read}))
        elif path.endswith("/account/endpoint_costs"):
            connection.sendall(answer(costs if costs is not None else {}))
        elif path.endswith("/user_data_timestamp"):
            connection.sendall(answer(as_of))
        else:
            connection.sendall(answer({"fills": [], "cursor": ""}))

    return script


@pytest.fixture
def opened() -> Iterator[Callable[..., Exchange]]:
    exchanges: list[Exchange] = []

    def start(server: RawServer, **options: Any) -> Exchange:
        options = {"retry": QUICK, "rate_share": 1.0} | options
        url = f"http://127.0.0.1:{server.port}/trade-api/v2"
        exchanges.append(Exchange(url, None, **options))
        return exchanges[-1]

    yield start
    for exchange in exchanges:
        exchange.close()


def read(exchange: Exchange) -> None:
    for _ in exchange.walk("/portfolio/fills", {}, "fills"):
        pass


@pytest.mark.parametrize("cost", [601, 10**9, 10**30])
def test_a_cost_beyond_the_bucket_counts_as_the_bucket(
    cost: int, opened: Callable[..., Exchange]
) -> None:
    full = {"refill_rate": 2400, "bucket_capacity": 600}
    with serving(answering(full, {"default_cost": cost})) as server:
        exchange = opened(server)
        exchange.learn_limits()
        began = time.monotonic()
        for _ in range(4):
            read(exchange)
        took = time.monotonic() - began
    # The first takes what is there, each of the others waits for the bucket to be full again.
    assert 0.7 < took < 120


def test_one_dear_endpoint_counts_as_the_bucket_and_no_other_is_slowed(
    opened: Callable[..., Exchange],
) -> None:
    dear = {"method": "GET", "path": "/trade-api/v2/portfolio/positions", "cost": 10**9}
    with serving(answering(BASIC, {"default_cost": 10, "endpoint_costs": [dear]})) as server:
        exchange = opened(server)
        exchange.learn_limits()
        began = time.monotonic()
        for _ in range(30):
            read(exchange)
        assert time.monotonic() - began < 120


@pytest.mark.sampled(7)
@pytest.mark.parametrize(
    "told",
    [0, -1, -(10**30), True, False, None, "200", "many", [], {}, 0.5, float("nan"), float("inf")],
    ids=repr,
)
def test_a_rate_that_is_none_is_that_of_the_basic_tier(
    told: Any, opened: Callable[..., Exchange]
) -> None:
    with serving(answering({"refill_rate": told, "bucket_capacity": told})) as server:
        exchange = opened(server)
        exchange.learn_limits()
        began = time.monotonic()
        for _ in range(61):  # of which 60 are in the bucket
            read(exchange)
        assert 0.02 < time.monotonic() - began < 120


@pytest.mark.parametrize("told", [10**9, 10**30, 1e30, 5000.0], ids=repr)
def test_a_rate_beyond_all_bounds_is_no_error(told: Any, opened: Callable[..., Exchange]) -> None:
    with serving(answering({"refill_rate": told, "bucket_capacity": told})) as server:
        exchange = opened(server)
        exchange.learn_limits()
        for _ in range(3):
            read(exchange)


def test_a_full_bucket_that_is_never_filled_again_makes_no_request_wait_for_years(
    opened: Callable[..., Exchange],
) -> None:
    never = {"refill_rate": 1, "bucket_capacity": 10**9}
    with serving(answering(never, {"default_cost": 10**9})) as server:
        exchange = opened(server)
        exchange.learn_limits()
        assert exchange.pace._limits.cost("") <= 60


def test_a_long_wait_for_the_rate_limit_is_told_once(
    opened: Callable[..., Exchange],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pacing, "_LONG_WAIT_SECONDS", 0.2)
    told: list[float] = []
    limits = {"refill_rate": 20, "bucket_capacity": 10}
    with (
        serving(answering(limits, {"default_cost": 10})) as server,
        caplog.at_level(logging.INFO, "kalshi_fills.exchange"),
    ):
        exchange = opened(server, on_wait=told.append)
        exchange.learn_limits()
        for _ in range(4):
            read(exchange)
    waits = [record for record in caplog.records if record.message == "rate_limit_wait"]
    assert len(waits) == len(told) == 1
    assert waits[0].levelno == logging.WARNING
    assert waits[0].fields["path"] == "/portfolio/fills"  # type: ignore[attr-defined]  # ours
    assert 0 < told[0] <= 0.6


def test_short_waits_are_not_told(
    opened: Callable[..., Exchange], caplog: pytest.LogCaptureFixture
) -> None:
    with (
        serving(answering({"refill_rate": 400, "bucket_capacity": 10})) as server,
        caplog.at_level(logging.INFO, "kalshi_fills.exchange"),
    ):
        exchange = opened(server)
        exchange.learn_limits()
        for _ in range(5):
            read(exchange)
    assert not [record for record in caplog.records if record.message == "rate_limit_wait"]


def test_who_waits_for_the_rate_limit_is_woken_by_the_end(
    opened: Callable[..., Exchange],
) -> None:
    with serving(answering({"refill_rate": 1, "bucket_capacity": 50}, {"default_cost": 50})) as it:
        exchange = opened(it)
        exchange.learn_limits()  # which takes what is in the bucket
        failed: list[BaseException] = []

        def wait() -> None:
            try:
                read(exchange)
            except ExchangeError as error:
                failed.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.3)
        exchange.close()
        waiting.join(120)
        assert not waiting.is_alive()
        assert failed


@pytest.mark.parametrize("header", ["1000000000", "9" * 400])
def test_a_retry_after_of_decades_ends_the_pass_at_once(
    header: str, opened: Callable[..., Exchange]
) -> None:
    def script(_: str, connection: Any) -> None:
        connection.sendall(answer({}, "429 Slow", f"Retry-After: {header}"))

    began = time.monotonic()
    with serving(script) as server, pytest.raises(ExchangeError, match="429"):
        read(opened(server))
    assert time.monotonic() - began < 120


@pytest.mark.parametrize(
    "told",
    [
        {"as_of_time": "0001-01-01T00:00:00Z"},
        {"as_of_time": "1970-01-01T00:00:00Z"},
        {"as_of_time": "2020-12-31T23:59:59.999999Z"},
        {"as_of_time": "9999-12-31T23:59:59-23:00"},
        {"as_of_time": "2026-13-45T00:00:00Z"},
        {"as_of_time": ["2026-11-20T15:02:14Z"]},
        {"as_of_time": True},
        {"as_of_time": 1e30},
        [],
        None,
        "2026-11-20T15:02:14Z",
        7,
    ],
    ids=repr,
)
def test_a_time_that_cannot_be_is_not_told(told: Any, opened: Callable[..., Exchange]) -> None:
    with serving(answering(BASIC, as_of=told)) as server:
        assert opened(server).as_of() is None


def test_a_time_since_the_exchange_opened_is_told(opened: Callable[..., Exchange]) -> None:
    with (
        serving(answering(BASIC, as_of={"as_of_time": "2021-01-01T00:00:00Z"})) as server,
        closing(opened(server)) as exchange,
    ):
        assert exchange.as_of() == datetime(2021, 1, 1, tzinfo=UTC)


def test_what_a_pass_begins_with_is_asked_for_side_by_side(
    opened: Callable[..., Exchange],
) -> None:
    together = threading.Barrier(4, timeout=5)
    asked: list[str] = []

    def script(head: str, connection: Any) -> None:
        path = head.split()[1].rpartition("/")[2]
        asked.append(path)
        if len(asked) <= 4:
            together.wait()
        told = {
            "limits": {"read": BASIC},
            "endpoint_costs": {"default_cost": 7},
            "user_data_timestamp": {"as_of_time": "2026-11-20T00:00:00Z"},
            "cutoff": {"trades_created_ts": "2026-09-22T00:00:00Z"},
        }
        connection.sendall(answer(told[path]))

    with serving(script) as server:
        exchange = opened(server)
        exchange.learn_limits()
        assert exchange.as_of() == datetime(2026, 11, 20, tzinfo=UTC)
        assert exchange.cutoff() == datetime(2026, 9, 22, tzinfo=UTC)
        assert len(asked) == 4
        # What is asked for later is not answered from memory.
        exchange.as_of()
        exchange.cutoff()
        assert asked[4:] == ["user_data_timestamp", "cutoff"]


def test_what_fails_ahead_fails_where_it_is_needed(opened: Callable[..., Exchange]) -> None:
    def script(head: str, connection: Any) -> None:
        told = {} if head.split()[1].endswith("/historical/cutoff") else {"read": BASIC}
        connection.sendall(answer(told))

    with serving(script) as server:
        exchange = opened(server)
        exchange.learn_limits()
        assert exchange.as_of() is None
        with pytest.raises(ExchangeError, match="carries no trades_created_ts"):
            exchange.cutoff()


def test_an_exchange_that_is_down_is_asked_ahead_a_single_time(
    opened: Callable[..., Exchange],
) -> None:
    asked: list[str] = []

    def script(head: str, connection: Any) -> None:
        asked.append(head.split()[1].rpartition("/")[2])
        connection.sendall(answer({}, "503 Service Unavailable"))

    with serving(script) as server:
        exchange = opened(server)
        with pytest.raises(ExchangeError, match="503"):
            exchange.learn_limits()
        for name in ("endpoint_costs", "user_data_timestamp", "cutoff"):
            wait_until(lambda name=name: name in asked)
        assert asked.count("limits") == 1 + QUICK.attempts
        assert len(asked) == 1 + QUICK.attempts + 3
        with pytest.raises(ExchangeError, match="503"):
            exchange.cutoff()
        assert asked.count("cutoff") == 1 + QUICK.attempts


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
