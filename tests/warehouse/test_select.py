"""A query's columns become a row type's fields by their names."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from kalshi_fills.warehouse.client import Warehouse, select, select_one


class _Pair(NamedTuple):
    number: int
    word: str


def test_columns_are_read_by_name_in_any_order(warehouse: Warehouse) -> None:
    expected = [_Pair(1, "one"), _Pair(2, "two")]
    straight = "SELECT * FROM VALUES('number UInt8, word String', (1, 'one'), (2, 'two'))"
    turned = "SELECT word, number FROM VALUES('number UInt8, word String', (1, 'one'), (2, 'two'))"
    assert select(warehouse, _Pair, straight) == expected
    assert select(warehouse, _Pair, turned) == expected
    assert select_one(warehouse, _Pair, turned) == expected[0]


def test_no_row_is_none(warehouse: Warehouse) -> None:
    nothing = "SELECT 1 AS number, 'one' AS word WHERE 0"
    assert select(warehouse, _Pair, nothing) == []
    assert select_one(warehouse, _Pair, nothing) is None


@pytest.mark.parametrize(
    "query", ["SELECT 1 AS number", "SELECT 1 AS number, 'one' AS word, 2 AS more"]
)
def test_other_columns_than_fields_are_a_mistake(warehouse: Warehouse, query: str) -> None:
    with pytest.raises(TypeError, match="columns"):
        select(warehouse, _Pair, query)
