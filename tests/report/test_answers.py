"""Answers of diagnostic queries, read by the names of their columns."""

from __future__ import annotations

from typing import NamedTuple

from kalshi_fills.diagnose.survey import QueryResult
from kalshi_fills.report.answers import answer, records, select_from

ORDERS = QueryResult("orders", "title", "shows", "normal", ("market", "rows"), [("KXT", 3)])


class Rows(NamedTuple):
    rows: int
    market: str


def test_rows_are_read_by_name_in_whatever_order_the_columns_come() -> None:
    assert records(ORDERS) == [{"market": "KXT", "rows": 3}]
    assert select_from(ORDERS, Rows) == [Rows(3, "KXT")]


def test_a_query_that_was_not_asked_has_no_answer_and_no_rows() -> None:
    assert answer([ORDERS], "orders") is ORDERS
    assert answer([ORDERS], "others") is None
    assert select_from(None, Rows) == []
