"""Tables to store fills in."""

from __future__ import annotations

import pytest
from support.book import Book

from kalshi_fills.warehouse.client import Warehouse
from kalshi_fills.warehouse.statements import Tables


@pytest.fixture
def book(warehouse: Warehouse, tables: Tables) -> Book:
    return Book(warehouse, tables)
