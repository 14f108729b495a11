"""A walk through a listing, without an exchange: where it goes on, ends, and is refused."""

from __future__ import annotations

import json

import pytest

from kalshi_fills.exchange.decode import UnknownPaging
from kalshi_fills.exchange.pacing import Limits
from kalshi_fills.exchange.paging import Walk


def page(cursor: str, *ids: str) -> str:
    return json.dumps({"fills": [{"fill_id": one} for one in ids], "cursor": cursor})


def take(walk: Walk, text: str) -> None:
    walk.take(*walk.decode(text))


def test_the_filters_go_with_every_page_and_an_empty_cursor_ends_the_walk() -> None:
    walk = Walk({"ticker": "T"}, "fills")
    assert walk.query() == {"ticker": "T", "limit": "1000"}
    take(walk, page("one", "a"))
    assert walk.query() == {"ticker": "T", "limit": "1000", "cursor": "one"}
    assert not walk.is_over
    take(walk, page(""))
    assert walk.is_over


def test_a_cursor_that_comes_back_is_refused() -> None:
    walk = Walk({}, "fills")
    take(walk, page("one", "a"))
    with pytest.raises(UnknownPaging, match="a cursor it had given before"):
        walk.decode(page("one", "b"))


def test_more_than_twenty_pages_with_nothing_new_are_refused_but_not_the_last_page() -> None:
    walk = Walk({}, "fills")
    for number in range(21):
        take(walk, page(str(number), "a"))
    with pytest.raises(UnknownPaging, match="more than 20 pages"):
        walk.decode(page("again", "a"))
    take(walk, page("new", "b"))
    take(walk, page("", "b"))
    assert walk.is_over


def test_no_request_costs_more_than_the_bucket_holds_or_a_minute_fills() -> None:
    assert Limits(refill_rate=10, bucket_capacity=50, costs={"/x": 70}).cost("/x") == 50
    assert Limits(refill_rate=1, bucket_capacity=10**9, default_cost=10**9).cost("/y") == 60
    assert Limits(default_cost=3).cost("/z") == 3
