"""An operator's own columns of any type, through everything that moves rows."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from support.legacy import LEGACY, make

from kalshi_fills.migrate.run import migrate
from kalshi_fills.truncate.place import place_of
from kalshi_fills.truncate.plan import TruncateRequest
from kalshi_fills.truncate.run import truncate
from kalshi_fills.warehouse.client import Row, Warehouse
from kalshi_fills.warehouse.statements import Tables

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)

OWN = {  # most values are defaults, which a server stores sparsely
    "Tuple(a Int32, b String)": "if(number % 50 = 1, (toInt32(5), 'x'), (toInt32(0), ''))",
    "Tuple(a Tuple(b Nullable(Int8), c LowCardinality(String)))": "tuple(tuple(NULL, 'q'))",
    "Tuple(Float64, DateTime64(9, 'UTC'))": "(nan, toDateTime64('2026-01-01 00:00:00.1', 9))",
    "Map(String, Array(Int8))": "if(number % 50 = 1, map('a', [toInt8(1)]), "
    "CAST(map(), 'Map(String, Array(Int8))'))",
    "Array(Tuple(x Int8, y Nullable(String)))": "[(1, NULL)]",
    "Array(Nullable(Float32))": "[nan, NULL, -0.0]",
    "DateTime64(9, 'America/New_York')": "toDateTime64('2026-01-01 00:00:00.123456789', 9)",
    "FixedString(4)": "unhex('FF00FE01')",
    "String": "unhex('FF00FE')",
    "AggregateFunction(uniq, String)": "initializeAggregation('uniqState', toString(number))",
}
TYPES = list(OWN)
NAMES = [f"own{index}" for index in range(len(TYPES))]
VALUES = ", ".join(OWN.values())


def add_own(warehouse: Warehouse, tables: Tables) -> None:
    declared = (f"ADD COLUMN {name} {kind}" for name, kind in zip(NAMES, TYPES, strict=True))
    warehouse.command(f"ALTER TABLE {tables.name()} {', '.join(declared)}")


def contents(warehouse: Warehouse, source: str, condition: str, identity: str) -> Sequence[Row]:
    """Return how many fills there are, and a digest of each own column over all of them."""
    plain = [
        f"finalizeAggregation({name})" if "Aggregate" in kind else name
        for name, kind in zip(NAMES, TYPES, strict=True)
    ]
    read = [f"toString(tuple({name})) AS c{index}" for index, name in enumerate(plain)]
    digests = ", ".join(f"sum(sipHash64(id, c{index}))" for index in range(len(NAMES)))
    return warehouse.rows(
        f"SELECT count(), {digests} FROM (SELECT DISTINCT {identity} AS id, {', '.join(read)} "
        f"FROM {source} WHERE {condition})"
    )


@pytest.mark.parametrize("what", ["garbage", "before"])
def test_own_columns_of_any_type_stay_bit_for_bit(
    warehouse: Warehouse, tables: Tables, what: str
) -> None:
    migrate(warehouse, tables, NOW)
    add_own(warehouse, tables)
    for _ in range(2):  # a row that came twice is settled by its own statement
        warehouse.command(
            f"INSERT INTO {tables.name()} (ts, fill_id, exchange_order_id, market_ticker, side, "
            f"price_cents, size, source, version, raw_json, {', '.join(NAMES)}) SELECT "
            "toDateTime64('2026-06-01', 6, 'UTC') + toIntervalSecond(number), "
            "if(number % 7 = 3, '', toString(number)), 'o', 't', 'yes', if(number < 2, 0, 41), 1, "
            '\'live\', 5, if(number % 7 = 3, \'{"order_id":"o","fill_id":"\' || '
            f"toString(number) || '\"}}', ''), {VALUES} FROM numbers(5000)"
        )
    identity = "if(fill_id = '', JSONExtractString(raw_json, 'fill_id'), fill_id)"
    kept, removed = (
        contents(warehouse, tables.name(), f"price_cents = {price}", identity) for price in (41, 0)
    )
    before = None if what == "garbage" else datetime(2026, 6, 1, 0, 0, 2, tzinfo=UTC)

    done = truncate(
        place_of(warehouse, tables, uuid.uuid4(), NOW),
        TruncateRequest(garbage=what == "garbage", before=before),
    )

    assert contents(warehouse, tables.name(), "price_cents = 41", identity) == kept
    backup = f"{tables.database}.{done.backup}"
    assert contents(warehouse, backup, "price_cents = 0", identity) == removed


def test_own_columns_of_any_type_are_carried_over(warehouse: Warehouse, tables: Tables) -> None:
    make(warehouse, tables, {**LEGACY, "fill_id": "String"})
    add_own(warehouse, tables)
    warehouse.command(
        f"INSERT INTO {tables.name()} (ts, engine_instance_id, market_ticker, exchange_order_id, "
        f"side, price, price_cents, size, fill_id, {', '.join(NAMES)}) SELECT "
        "toDateTime64('2026-06-01', 3, 'UTC'), 'e', 't', 'o', 'yes', 0.41, 41, 1, "
        f"if(number % 2 = 0, toString(number), ''), {VALUES} FROM numbers(5000)"
    )
    expected = contents(warehouse, tables.name(), "fill_id != ''", "fill_id")

    migrate(warehouse, tables, NOW)

    assert contents(warehouse, f"{tables.name()} FINAL", "1", "fill_id") == expected


def test_a_tuple_that_is_stored_sparsely_goes_with_its_row(
    warehouse: Warehouse, tables: Tables
) -> None:
    migrate(warehouse, tables, NOW)
    warehouse.command(f"ALTER TABLE {tables.name()} ADD COLUMN own Tuple(a Int32, b String)")
    for _ in range(2):
        warehouse.command(
            f"INSERT INTO {tables.name()} (ts, fill_id, exchange_order_id, market_ticker, side, "
            "price_cents, size, source, version, own) SELECT toDateTime64('2026-06-01', 6, 'UTC'), "
            "toString(number), 'o', 't', 'yes', if(number < 2, 0, 41), 1, 'live', 5, "
            "if(number % 50 = 1, (toInt32(5), 'x'), (toInt32(0), '')) FROM numbers(20000)"
        )

    done = truncate(place_of(warehouse, tables, uuid.uuid4(), NOW), TruncateRequest(garbage=True))

    assert (done.rows_removed, done.rows_left) == (2, 19998)
    sums = "SELECT count(), sum(own.1), countIf(own.2 = 'x') FROM"
    assert warehouse.rows(f"{sums} {tables.name()} FINAL") == [(19998, 1995, 399)]
    assert warehouse.rows(f"{sums} {tables.database}.{done.backup} FINAL") == [(2, 5, 1)]
