"""Settlements are stored once each, and corrected by a higher version."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from support.book import NOW, Book

from kalshi_fills.errors import InsertUnknown, WarehouseError
from kalshi_fills.pipeline.settlements import Settlement
from kalshi_fills.warehouse import settlements as module
from kalshi_fills.warehouse.settlements import WrittenSettlements

ONE = Settlement(
    settled_at=NOW,
    ticker="KXHIGHNY-26NOV15-B48.5",
    event_ticker="KXHIGHNY-26NOV15",
    subaccount_number=0,
    market_result="yes",
    yes_contracts=Decimal("9999999999999999.99"),
    no_contracts=Decimal("0.01"),
    yes_cost_dollars=Decimal("999999999999.999999"),
    no_cost_dollars=Decimal("0.000001"),
    revenue_dollars=Decimal("0.01"),
    fee_dollars=Decimal("0.000001"),
    payout_per_yes_dollars=Decimal("1.00"),
    exchange_index=3,
    raw_json='{"it\'s": "日本\\t"}',
)

SPARSE = ONE._replace(ticker="it's `odd` \\ 日本", payout_per_yes_dollars=None, exchange_index=None)

COLUMNS = (
    "settled_at, market_ticker, event_ticker, subaccount_number, market_result, yes_contracts, "
    "no_contracts, yes_cost_dollars, no_cost_dollars, revenue_dollars, fee_dollars, "
    "payout_per_yes_dollars, exchange_index, raw_json"
)


def stored(book: Book, what: str = COLUMNS) -> list[tuple[Any, ...]]:
    return book.rows(what, "_settlements")


def write(book: Book, *settlements: Settlement, **how: Any) -> WrittenSettlements:
    return book.store(**how).settlements.write(settlements)


def test_each_is_stored_once_exactly_and_corrected_where_it_differs(book: Book) -> None:
    run_id = uuid.uuid4()
    both = [ONE, SPARSE, ONE._replace(subaccount_number=63)]

    assert write(book, *both, dry_run=True) == WrittenSettlements(3, 0, 0)
    assert stored(book) == []
    assert write(book, *both, run_id=run_id) == WrittenSettlements(3, 0, 0)
    assert write(book, *both, at=NOW + timedelta(hours=1)) == WrittenSettlements(0, 0, 3)
    assert stored(book) == sorted(tuple(one) for one in both)
    assert stored(book, "DISTINCT run_id") == [(run_id,)]
    physical = f"SELECT count() FROM {book.tables.name('_settlements')}"
    assert book.warehouse.rows(physical) == [(3,)]

    for number, changes in enumerate(
        (
            {"settled_at": NOW - timedelta(days=1)},
            {"event_ticker": "E"},
            {"market_result": "no"},
            {"yes_contracts": Decimal("9999999999999999.98")},
            {"no_contracts": Decimal(0)},
            {"yes_cost_dollars": Decimal("999999999999.999998")},
            {"no_cost_dollars": Decimal(0)},
            {"revenue_dollars": Decimal(0)},
            {"fee_dollars": Decimal(0)},
            {"payout_per_yes_dollars": None},
            {"exchange_index": None},
        )
    ):
        corrected = ONE._replace(**changes)
        # The clock may stand still, or be set back, between two runs.
        at = NOW - timedelta(hours=number)
        assert write(book, corrected, SPARSE, at=at) == WrittenSettlements(0, 1, 1), changes
        assert tuple(corrected) in stored(book), changes
        assert write(book, ONE, at=at) == WrittenSettlements(0, 1, 0)
    assert write(book, ONE._replace(raw_json="{}")) == WrittenSettlements(0, 0, 1)
    assert stored(book) == sorted(tuple(one) for one in both)


def test_two_rows_of_one_version_are_undefined_and_written_anew(book: Book) -> None:
    write(book, ONE)
    book.warehouse.command(
        f"INSERT INTO {book.tables.name('_settlements')} SELECT * REPLACE ('no' AS market_result) "
        f"FROM {book.tables.name('_settlements')}"
    )

    assert write(book, ONE) == WrittenSettlements(0, 1, 0)
    assert stored(book) == [tuple(ONE)]
    assert write(book, ONE) == WrittenSettlements(0, 0, 1)


@dataclass
class Losing:
    """A warehouse whose inserts end without an answer, stored or not."""

    real: Any
    stores: list[bool]
    inserts: int = field(default=0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def insert(self, *block: Any) -> None:
        self.inserts += 1
        if self.stores.pop(0):
            self.real.insert(*block)
        if self.stores:
            raise InsertUnknown("no answer", hint="none")


@pytest.mark.parametrize(("stores", "inserts"), [([True, True], 1), ([False, True], 2)])
def test_an_insert_without_an_answer_is_looked_up_before_it_is_sent_again(
    book: Book, monkeypatch: pytest.MonkeyPatch, stores: list[bool], inserts: int
) -> None:
    monkeypatch.setattr(module, "_LOOKUP_WAIT_SECONDS", 0.0)
    warehouse = Losing(book.warehouse, list(stores))

    write(book, ONE, SPARSE, warehouse=warehouse)

    assert warehouse.inserts == inserts
    assert stored(book) == sorted((tuple(ONE), tuple(SPARSE)))


def test_an_insert_that_stays_unknown_is_an_error(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOOKUP_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(module, "_LOOKUP_SECONDS", 0.0)

    with pytest.raises(WarehouseError, match="no answer"):
        write(book, ONE, warehouse=Losing(book.warehouse, [False] * 9))
    assert stored(book) == []
