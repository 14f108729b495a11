"""The operator's own columns: a correction leaves them bit for bit as they were."""

from __future__ import annotations

import pytest
from support.syncing import MINUTE, Bench, one_day, truth

from kalshi_fills.errors import WarehouseError

VALUES = {
    "DateTime64(9, 'UTC')": "toDateTime64('2026-11-22 10:00:00.123456789', 9, 'UTC')",
    "Map(String, Array(UInt8))": "map('a', [1, 2], 'b', [])",
    "Tuple(a UInt8, b String)": "CAST((7, 'x'), 'Tuple(a UInt8, b String)')",
    "Array(Tuple(Nullable(String), Decimal(38, 10)))": "[(NULL, toDecimal128('1.0000000001', 10))]",
    "Nested(k String, v Float64)": "",
    "Float64": "reinterpretAsFloat64(unhex('010000000000f87f'))",
    "Float32": "-inf",
    "String": "unhex('ff00fe5c6e0a09')",
    "FixedString(4)": "toFixedString(unhex('ff00'), 4)",
    "LowCardinality(Nullable(String))": "unhex('ff')",
    "Nullable(Int64)": "toInt64(-9223372036854775808)",
    "IPv6": "toIPv6('2001:db8::1')",
    "IPv4": "toIPv4('10.0.0.1')",
    "Enum8('one' = 1, 'it\\'s' = 2)": "2",
    "UInt256": "bitNot(toUInt256(0))",
    "Date32": "toDate32('1925-01-01')",
    "Bool": "true",
    "UUID": "toUUID('5b0d2a1f-51c3-4d0b-9f57-8e0f7a3e9c11')",
    "AggregateFunction(uniq, String)": "(SELECT uniqState(toString(number)) FROM numbers(5))",
    "SimpleAggregateFunction(max, Float64)": "toFloat64(0.1)",
}


def column_of(number: int, kind: str) -> str:
    return f"own_{number}.k" if kind.startswith("Nested") else f"own_{number}"


def as_bits(bench: Bench, name: str) -> list[tuple[object, ...]]:
    """Return each fill's value of a column as the very bytes the engine writes."""
    return bench.rows(f"fill_id, hex(formatRowNoNewline('RowBinary', `{name}`))")


@pytest.mark.parametrize("merged", [False, True])
def test_a_correction_leaves_columns_of_every_type_as_they_were(bench: Bench, merged: bool) -> None:
    account = one_day(30)
    table = bench.tables.name()
    bench.serve(account)
    bench.run()
    for number, kind in enumerate(VALUES):
        bench.warehouse.command(f"ALTER TABLE {table} ADD COLUMN `own_{number}` {kind}")
    changed = ", ".join(
        f"{value} AS `own_{number}`" for number, value in enumerate(VALUES.values()) if value
    )
    nested = next(number for number, kind in enumerate(VALUES) if kind.startswith("Nested"))
    changed += f", ['k', ''] AS `own_{nested}.k`, [nan, 1.5] AS `own_{nested}.v`"
    bench.warehouse.command(
        f"INSERT INTO {table} SELECT * REPLACE (version + 1 AS version, size + 1 AS size, "
        f"{changed}) FROM {table} FINAL"
    )
    if merged:
        bench.warehouse.command(f"OPTIMIZE TABLE {table} FINAL")
    names = [column_of(number, kind) for number, kind in enumerate(VALUES)] + [f"own_{nested}.v"]
    before = {name: as_bits(bench, name) for name in names}

    bench.clock.now += MINUTE
    done = bench.run(full=True)

    assert done.counts.n_corrected == 30
    assert bench.fills() == truth(account)
    for name in names:
        assert as_bits(bench, name) == before[name]
    bench.warehouse.command(f"OPTIMIZE TABLE {table} FINAL")
    for name in names:
        assert as_bits(bench, name) == before[name]
    bench.clock.now += MINUTE
    assert bench.run(full=True).counts.n_known == 30


def test_columns_that_hold_no_values_of_their_own_are_left_alone(bench: Bench) -> None:
    account = one_day(10)
    table = bench.tables.name()
    bench.serve(account)
    bench.run()
    bench.warehouse.command(
        f"ALTER TABLE {table} ADD COLUMN `an alias` String ALIAS concat(side, '!'), "
        "ADD COLUMN made String MATERIALIZED lower(market_ticker), "
        "ADD COLUMN passing UInt8 EPHEMERAL 3, "
        "ADD COLUMN kept UInt8 DEFAULT passing + 1"
    )
    bench.warehouse.command(
        f"INSERT INTO {table} SELECT * REPLACE (version + 1 AS version, size + 1 AS size, "
        f"9 AS kept) FROM {table} FINAL"
    )

    bench.clock.now += MINUTE
    assert bench.run(full=True).counts.n_corrected == 10

    assert bench.rows(
        "DISTINCT kept, `an alias` = concat(side, '!'), made = lower(market_ticker)"
    ) == [(9, 1, 1)]


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    "name", ["fill", "held", "block", "content", "order_id", "version2", "a`b\\", "links", "digest"]
)
def test_a_column_of_any_name_is_kept(bench: Bench, name: str) -> None:
    table = bench.tables.name()
    quoted = "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
    bench.serve(one_day(10))
    bench.run()
    bench.warehouse.command(f"ALTER TABLE {table} ADD COLUMN {quoted} String DEFAULT 'of old'")
    bench.warehouse.command(
        f"INSERT INTO {table} SELECT * REPLACE (version + 1 AS version, size + 1 AS size, "
        f"fill_id AS {quoted}) FROM {table} FINAL"
    )

    bench.clock.now += MINUTE
    assert bench.run(full=True).counts.n_corrected == 10

    assert bench.rows(f"count(), countIf({quoted} = fill_id)") == [(10, 10)]


def test_a_json_column_is_kept(bench: Bench) -> None:
    table = bench.tables.name()
    bench.serve(one_day(10))
    bench.run()
    allowed = "SETTINGS allow_experimental_json_type = 1"
    try:
        bench.warehouse.command(f"ALTER TABLE {table} ADD COLUMN note JSON {allowed}")
    except WarehouseError:
        pytest.skip("this engine has no JSON type")
    bench.warehouse.command(
        f"INSERT INTO {table} SELECT * REPLACE (version + 1 AS version, size + 1 AS size, "
        """'{"a": {"b": [1, "x"]}}' AS note) """
        f"FROM {table} FINAL"
    )
    before = bench.rows("fill_id, toString(note)")
    assert '"b"' in str(before)

    bench.clock.now += MINUTE
    assert bench.run(full=True).counts.n_corrected == 10

    assert bench.rows("fill_id, toString(note)") == before
