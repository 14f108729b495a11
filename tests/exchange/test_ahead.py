"""What is asked ahead comes whole and in order, and fails where it is needed."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from kalshi_fills.errors import ExchangeError
from kalshi_fills.exchange.ahead import read_ahead


def test_the_next_page_is_asked_for_before_the_first_is_used() -> None:
    second_is_under_way = threading.Event()

    def pages() -> Iterator[int]:
        yield 1
        second_is_under_way.set()
        yield 2

    read = read_ahead(pages())
    assert next(read) == 1
    assert second_is_under_way.wait(10)
    assert list(read) == [2]


def test_a_listing_without_pages_is_empty() -> None:
    assert list(read_ahead(iter(()))) == []


def test_a_page_that_fails_fails_after_those_before_it() -> None:
    def pages() -> Iterator[int]:
        yield 1
        raise ExchangeError("the exchange is down", hint="wait")

    read = read_ahead(pages())
    assert next(read) == 1
    with pytest.raises(ExchangeError, match="is down"):
        next(read)
