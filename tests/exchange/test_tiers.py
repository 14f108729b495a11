"""Walks and tiers: every page once, and an end to each walk."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.wire import (
    ALL,
    NOW,
    QUICK,
    Answer,
    Connect,
    Request,
    Serve,
    Wired,
    account_of,
    failure,
    fill_ids,
    page,
    walked,
)

from kalshi_fills.errors import ExchangeError
from kalshi_fills.exchange import paging
from kalshi_fills.exchange.tiers import MAX_WORKERS, fetch_fills
from kalshi_fills.pipeline.window import Window
from kalshi_fills.practice.faults import Faults

# Pages


def test_filters_go_with_every_page_one_second_wider_on_both_sides(
    wire: Wired, connect: Connect
) -> None:
    def script(request: Request) -> Answer:
        if request.path == "/historical/cutoff":
            return Answer({"trades_created_ts": "2026-11-15T00:00:00Z"})
        number = int(request.query.get("cursor", "0"))
        return page([f"{request.path}{number}"], str(number + 1) if number < 2 else "")

    server = wire(script)
    start = datetime(2026, 11, 10, 12, 0, 0, 999_999, tzinfo=UTC)
    end = datetime(2026, 11, 20, 12, 0, 0, 1, tzinfo=UTC)
    pages = list(fetch_fills(connect(server), Window(start, end)))
    assert [page.tier for page in pages] == ["live"] * 3 + ["historical"] * 3
    asked = [request.query for request in server.requests if request.path.endswith("/fills")]
    wider = {
        "min_ts": str(int(start.timestamp()) - 1),
        "max_ts": str(int(end.timestamp()) + 2),  # the second that the end lies in, and one more
        "limit": "1000",
    }
    walk = [wider, {**wider, "cursor": "1"}, {**wider, "cursor": "2"}]
    assert asked == walk * 2


def test_a_window_without_start_asks_for_everything_before_its_end(
    wire: Wired, connect: Connect
) -> None:
    def script(request: Request) -> Answer:
        return Answer({}, 404) if request.path == "/historical/cutoff" else page()

    server = wire(script)
    assert [page.tier for page in fetch_fills(connect(server), ALL)] == ["live", "historical"]
    asked = [request.query for request in server.requests if "max_ts" in request.query]
    assert asked == [{"max_ts": str(int(NOW.timestamp()) + 1), "limit": "1000"}] * 2


def test_an_exchange_without_a_historical_tier_is_read_without_it(
    wire: Wired, connect: Connect
) -> None:
    def script(request: Request) -> Answer:
        return Answer({}, 404) if request.path.startswith("/historical") else page()

    assert [page.tier for page in fetch_fills(connect(wire(script)), ALL)] == ["live"]


def test_a_cutoff_that_is_told_only_once_is_an_error(wire: Wired, connect: Connect) -> None:
    told = iter([Answer({"trades_created_ts": "2026-09-22T00:00:00Z"}), Answer({}, 404)])

    def script(request: Request) -> Answer:
        return next(told) if request.path == "/historical/cutoff" else page()

    with pytest.raises(ExchangeError, match="cutoff once and then no more"):
        list(fetch_fills(connect(wire(script)), ALL))


def test_both_tiers_are_walked_to_the_end_live_first(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGE_LIMIT", 7)
    account = account_of(100)
    practice = serve(account, cutoff=NOW - timedelta(days=8))
    pages = list(fetch_fills(connect(practice), ALL))
    tiers = [page.tier for page in pages]
    assert tiers == sorted(tiers, reverse=True)
    assert {"live", "historical"} == set(tiers)
    got = [json.loads(item)["fill_id"] for page in pages for item in page.items]
    assert sorted(got) == sorted(fill.fill_id for fill in account.fills)
    assert max(len(page.items) for page in pages) == 7
    assert practice.requests["/historical/cutoff"] == 2


def test_the_historical_tier_is_left_alone_where_the_window_is_live(
    serve: Serve, connect: Connect
) -> None:
    practice = serve(account_of(20), cutoff=NOW - timedelta(days=8))
    fill_ids(connect(practice), Window(NOW - timedelta(days=2), NOW))
    assert practice.requests["/historical/fills"] == 0
    fill_ids(connect(practice), Window(NOW - timedelta(days=9), NOW))
    assert practice.requests["/historical/fills"] == 1


@pytest.mark.parametrize("end", [{}, {"cursor": ""}, {"cursor": None}, {"cursor": False}])
def test_only_a_falsy_cursor_ends_the_walk(
    end: dict[str, Any], wire: Wired, connect: Connect
) -> None:
    # A short page proves nothing, nor does an empty one.
    server = wire(page(["a"], "1"), page([], "2"), page([], "3"), Answer({"fills": ["b"], **end}))
    assert walked(connect(server)) == ["a", "b"]
    assert [request.query.get("cursor") for request in server.requests] == [None, "1", "2", "3"]


def test_a_null_list_is_an_empty_page(wire: Wired, connect: Connect) -> None:
    server = wire(Answer({"fills": None, "cursor": "1"}), Answer({"fills": None, "cursor": ""}))
    assert walked(connect(server)) == []
    assert len(server.requests) == 2


def test_a_bare_list_is_a_whole_listing(serve: Serve, connect: Connect, wire: Wired) -> None:
    assert walked(connect(wire(Answer([1, None, {"a": "b"}])))) == [1, None, {"a": "b"}]
    account = account_of(30)
    practice = serve(account, legacy_bare_list=True)
    assert sorted(set(fill_ids(connect(practice)))) == sorted(f.fill_id for f in account.fills)


def test_items_of_any_kind_come_as_they_are(wire: Wired, connect: Connect) -> None:
    body = b'{"cursor":"","fills":[null, 1.50 ,"x",[1],{"a" : 1.10}]}'
    pages = list(connect(wire(Answer(body))).walk("/portfolio/fills", {}, "fills"))
    assert pages[0] == ["null", "1.50", '"x"', "[1]", '{"a" : 1.10}']


def test_pages_that_overlap_repeat_or_come_empty_lose_nothing(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGE_LIMIT", 5)
    account = account_of(80)
    faults = Faults(overlap_page=0.2, repeat_page=0.2, empty_page=0.2, seed=3)
    practice = serve(account, faults=faults)
    assert set(fill_ids(connect(practice))) == {fill.fill_id for fill in account.fills}
    assert {"overlap_page", "repeat_page", "empty_page"} <= set(faults.injected)


def test_a_repeating_cursor_is_asked_again_and_then_ends_the_pass(
    wire: Wired, connect: Connect
) -> None:
    server = wire(page(["a"], "1"), page(["b"], "2"), page(["c"], "1"))
    got: list[Any] = []

    def walk() -> None:
        pages = connect(server).walk("/portfolio/fills", {}, "fills")
        for items in itertools.islice(pages, 20):
            got.extend(map(json.loads, items))

    assert "cursor" in failure(walk).message
    assert got == ["a", "b"]
    cursors = [request.query.get("cursor") for request in server.requests]
    assert cursors == [None, "1"] + ["2"] * QUICK.attempts


def test_a_cursor_that_repeats_once_is_survived(wire: Wired, connect: Connect) -> None:
    server = wire(page(["a"], "1"), page(["b"], "1"), page(["b"], "2"), page(["c"]))
    assert walked(connect(server)) == ["a", "b", "c"]


@pytest.mark.parametrize("items", [[], ["old"], ["old", "old"]])
def test_more_than_20_pages_with_nothing_new_end_the_pass(
    items: list[str], wire: Wired, connect: Connect
) -> None:
    serial = itertools.count()
    server = wire(lambda _: page(items, f"c{next(serial)}"))
    walk = connect(server).walk("/portfolio/fills", {}, "fills")
    error = failure(lambda: list(itertools.islice(walk, 50)))
    assert "20 pages in a row with nothing new" in error.message
    first_is_new = bool(items)
    assert len(server.requests) == first_is_new + 20 + QUICK.attempts


def test_20_pages_with_nothing_new_are_followed(wire: Wired, connect: Connect) -> None:
    def script(request: Request) -> Answer:
        number = int(request.query.get("cursor", "0"))
        fresh = number % 21 == 0
        return page(
            [f"item {number}" if fresh else "item 0"], str(number + 1) if number < 63 else ""
        )

    assert len(set(walked(connect(wire(script))))) == 4


def test_a_walk_without_end_is_cut_off(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGE_LIMIT", 5)
    practice = serve(account_of(20), faults=Faults(endless_cursors=1.0))
    pages = fetch_fills(connect(practice), ALL)
    failure(lambda: list(itertools.islice(pages, 100)))
    # Several workers may each page in vain for as long as one does.
    assert practice.requests["/portfolio/fills"] < 40 * MAX_WORKERS / 2


def moving_cutoff(*moments: str) -> tuple[Callable[[Request], Answer], list[str]]:
    queue = itertools.chain(moments, itertools.repeat(moments[-1]))
    asked: list[str] = []

    def script(request: Request) -> Answer:
        asked.append(request.path)
        if request.path == "/historical/cutoff":
            return Answer({"trades_created_ts": next(queue)})
        return page([{"tier": request.path, "query": sorted(request.query.items())}])

    return script, asked


# The seam between the tiers


def test_the_seam_is_read_again_when_the_cutoff_moved(wire: Wired, connect: Connect) -> None:
    script, asked = moving_cutoff("2026-09-22T00:00:00Z", "2026-09-23T00:00:00Z")
    server = wire(script)
    pages = list(fetch_fills(connect(server), ALL))
    assert [page.tier for page in pages] == ["live", "historical", "live", "historical"]
    assert asked == [
        "/historical/cutoff",
        "/portfolio/fills",
        "/historical/fills",
        "/historical/cutoff",
        "/portfolio/fills",
        "/historical/fills",
        "/historical/cutoff",
    ]
    low, high = datetime(2026, 9, 22, tzinfo=UTC), datetime(2026, 9, 23, tzinfo=UTC)
    for request in server.requests[4:6]:
        assert int(request.query["min_ts"]) <= low.timestamp() - 1
        assert int(request.query["max_ts"]) >= high.timestamp() + 1


def test_a_cutoff_that_stays_is_read_once_after_and_ends_it(wire: Wired, connect: Connect) -> None:
    script, asked = moving_cutoff("2026-09-22T00:00:00Z")
    assert [page.tier for page in fetch_fills(connect(wire(script)), ALL)] == ["live", "historical"]
    assert asked.count("/historical/cutoff") == 2


def test_a_cutoff_that_never_stands_still_does_not_loop_for_ever(
    wire: Wired, connect: Connect
) -> None:
    script, asked = moving_cutoff(*(f"2026-09-22T00:00:{second:02d}Z" for second in range(60)))
    with pytest.raises(ExchangeError, match="cutoff moved"):
        list(fetch_fills(connect(wire(script)), ALL))
    assert len(asked) < 40


def test_fills_that_change_tiers_between_two_pages_are_not_lost(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGE_LIMIT", 5)
    account = account_of(60)
    practice = serve(account, cutoff=NOW - timedelta(days=15))
    seen: set[str] = set()
    for number, read in enumerate(fetch_fills(connect(practice), ALL)):
        seen.update(json.loads(item)["fill_id"] for item in read.items)
        practice.set_cutoff(NOW - timedelta(days=max(2, 15 - number)))
    assert seen == {fill.fill_id for fill in account.fills}


def test_a_cutoff_at_zero_time_that_moves_is_survived(wire: Wired, connect: Connect) -> None:
    script, _ = moving_cutoff("0001-01-01T00:00:00Z", "2026-09-22T00:00:00Z")
    assert list(fetch_fills(connect(wire(script)), ALL))
