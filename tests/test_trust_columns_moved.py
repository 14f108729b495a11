"""An operator's own columns of any type, through everything that moves rows."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest
from support.legacy import LEGACY, make

from kalshi_fills.migrations import Migration
from kalshi_fills.queries import Tables
from kalshi_fills.truncation import TruncateRequest, Truncation
from kalshi_fills.warehouse import Warehouse

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)

TYPES = {
    "Tuple(a Int32, b String)": "if(number % 50 = 1, (toInt32(5), 'x'), (toInt32(0), ''))",
    "Tuple(a Tuple(b Nullable(Int8), c LowCardinality(String)))": "tuple(tuple(NULL, 'q'))",
    "Tuple(Float64, DateTime64(9, 'UTC'))": "(nan, toDateTime64('2026-01-01 00:00:00.1', 9))",
    "Map(String, Array(Int8))": "if(number % 50 = 1, map('a', [1]), map())",
    "Array(Tuple(x Int8, y Nullable(String)))": "[(1, NULL)]",
    "Array(Nullable(Float32))": "[nan, NULL, -0.0]",
    "AggregateFunction(uniq, String)": "initializeAggregation('uniqState', toString(number))",
    "DateTime64(9, 'America/New_York')": "toDateTime64('2026-01-01 00:00:00.123456789', 9)",
    "FixedString(4)": "unhex('FF00FE01')",
    "String": "unhex('FF00FE')",
}
DIGEST = "sum(sipHash64(toString(tuple({own}))))"


def own_rows(kind: str, values: str, table: str, shift: int = 0) -> str:
    return (
        f"INSERT INTO {table} (ts, fill_id, exchange_order_id, market_ticker, side, price_cents, "
        "size, source, version, raw_json, own) SELECT toDateTime64('2026-06-01', 6, 'UTC') "
        f"+ toIntervalSecond(number), if(number % 7 = 3, '', toString(number)), 'o', 't', 'yes', "
        f'if(number < 20, 0, 41), 1, \'live\', 5, if(number % 7 = 3, \'{{"order_id":"o",'
        "\"fill_id\":\"' || toString(number) || '\"}', ''), CAST("
        f"{values}, '{kind.replace(chr(39), chr(92) + chr(39))}') FROM numbers({shift}, 20000)"
    )


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("what", ["garbage", "before"])
def test_own_columns_of_any_type_stay_bit_for_bit(
    warehouse: Warehouse, tables: Tables, kind: str, what: str
) -> None:
    Migration(warehouse, tables, NOW).run(dry_run=False)
    warehouse.command(f"ALTER TABLE {tables.name()} ADD COLUMN own {kind}")
    for _ in range(2):  # a row that came twice is settled by its own statement
        warehouse.command(own_rows(kind, TYPES[kind], tables.name()))
    own = "finalizeAggregation(own)" if kind.startswith("Aggregate") else "own"
    digest = DIGEST.format(own=own)
    read = f"SELECT count(), {digest} FROM {tables.name()} FINAL WHERE price_cents = "
    kept, removed = (warehouse.rows(read + price)[0] for price in ("41", "0"))
    before = None if what == "garbage" else datetime(2026, 6, 1, 0, 0, 20, tzinfo=UTC)

    done = Truncation(warehouse, tables, uuid.uuid4(), NOW).act(
        TruncateRequest(garbage=what == "garbage", before=before)
    )

    assert warehouse.rows(read + "41")[0] == kept
    assert done.backup is not None
    backup = f"{tables.database}.{done.backup}"
    taken = warehouse.rows(f"SELECT count(), {digest} FROM {backup} FINAL WHERE price_cents = 0")
    assert taken == [removed]


@pytest.mark.parametrize("kind", TYPES)
def test_own_columns_of_any_type_are_carried_over(
    warehouse: Warehouse, tables: Tables, kind: str
) -> None:
    if kind.startswith("Aggregate"):
        pytest.skip("an engine's old table has no such column")
    make(warehouse, tables, {**LEGACY, "fill_id": "String"})
    warehouse.command(f"ALTER TABLE {tables.name()} ADD COLUMN own {kind}")
    warehouse.command(
        f"INSERT INTO {tables.name()} (ts, engine_instance_id, market_ticker, exchange_order_id, "
        "side, price, price_cents, size, fill_id, own) SELECT toDateTime64('2026-06-01', 3, 'UTC'), "
        "'e', 't', 'o', 'yes', 0.41, 41, 1, if(number % 2 = 0, toString(number), ''), CAST("
        f"{TYPES[kind]}, '{kind.replace(chr(39), chr(92) + chr(39))}') FROM numbers(20000)"
    )
    digest = DIGEST.format(own="own")
    whole = f"SELECT count(), {digest} FROM {tables.name()} FINAL"
    ids = f"SELECT count(), {digest} FROM {tables.name()} WHERE fill_id != ''"
    expected = warehouse.rows(ids)

    Migration(warehouse, tables, NOW).run(dry_run=False)

    assert warehouse.rows(whole) == expected
