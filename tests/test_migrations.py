"""What migrate makes of each table that people come with, and what it refuses to touch."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from support.clickhouse_server import PASSWORD, ClickHouseServer
from support.commandline import Done, ServerWithUsers, Target
from support.legacy import (
    LEGACY,
    LEGACY_ENGINE,
    ORDER,
    TRADED,
    Users,
    content,
    insert,
    legacy_row,
    make,
    names_there,
    payload,
    snapshot,
)

from kalshi_fills.errors import SchemaError, WarehouseError
from kalshi_fills.migrate.run import DONE, NOTHING, PLANNED, MigrationReport
from kalshi_fills.migrate.run import migrate as bring_to_today
from kalshi_fills.practice.account import PracticeFill, generate_account, the_incident
from kalshi_fills.practice.exchange import PracticeExchange
from kalshi_fills.warehouse.client import Row, TextTable, Value, Warehouse
from kalshi_fills.warehouse.declared import wanted_columns, wanted_sorting_key
from kalshi_fills.warehouse.ownership import NEXT
from kalshi_fills.warehouse.schema import require_today
from kalshi_fills.warehouse.server import open_server
from kalshi_fills.warehouse.statements import Tables, quote_identifier
from kalshi_fills.warehouse.there import columns

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
NO_DECISION = uuid.UUID(int=0)
_serial = itertools.count(1)

STEP_KEYS = {"name", "found", "action", "rows", "seconds", "status"}

OTHER_KEY = "ReplacingMergeTree(version) ORDER BY (market_ticker, ts, fill_id)"
ENGINE_COLUMNS = (
    "ts, engine_instance_id, engine_version, market_ticker, exchange_order_id, client_order_id, "
    "side, price_cents, size, decision_id, fill_id, raw_json"
)


def make_today(
    warehouse: Warehouse,
    tables: Tables,
    engine: str = "",
    changes: Mapping[str, str] | None = None,
) -> None:
    """Make a table of today's columns by hand, with another engine and key or other columns."""
    text = tables.sql("migrations/0002_create_fills")
    made = text[text.index("CREATE TABLE") : text.index("ENGINE =")]
    for before, after in (changes or {}).items():
        assert before in made
        made = made.replace(before, after)
    warehouse.command(f"CREATE DATABASE IF NOT EXISTS {tables.database}")
    engine = engine or f"ReplacingMergeTree(version) ORDER BY ({wanted_sorting_key()})"
    warehouse.command(f"{made} ENGINE = {engine}")


def migrate(warehouse: Warehouse, tables: Tables, *, dry_run: bool = False) -> MigrationReport:
    return bring_to_today(warehouse, tables, NOW, dry_run=dry_run)


def fills(
    warehouse: Warehouse, tables: Tables, wanted: str = "fill_id", order: str = "fill_id"
) -> list[Row]:
    """Give the logical fills, as the view shows them."""
    return warehouse.rows(f"SELECT {wanted} FROM {tables.name('_current')} ORDER BY {order}")


def assert_today(warehouse: Warehouse, tables: Tables) -> None:
    require_today(warehouse, tables)
    again = migrate(warehouse, tables)
    assert not again.changed
    assert {step.status for step in again.steps} == {NOTHING}
    ((sorting, partition, engine),) = warehouse.rows(
        "SELECT sorting_key, partition_key, engine_full FROM system.tables "
        "WHERE database = {d:String} AND name = {t:String}",
        {"d": tables.database, "t": tables.fills},
    )
    assert (sorting, partition) == (wanted_sorting_key(), "")
    assert engine.startswith("ReplacingMergeTree(version)")
    held = dict(columns(warehouse, tables))
    assert {name: held.get(name) for name, _ in wanted_columns()} == dict(wanted_columns())
    view = [column.name for column in columns(warehouse, tables, "_current")]
    assert sorted(view) == sorted(held)


# What people come with


def test_where_nothing_is_everything_is_created(warehouse: Warehouse, tables: Tables) -> None:
    done = migrate(warehouse, tables)

    assert done.changed
    assert done.kept == []
    assert done.columns == [column.name for column in columns(warehouse, tables)]
    assert columns(warehouse, tables) == wanted_columns()
    assert names_there(warehouse, tables) == {
        "mm_fills",
        "mm_fills_rejected",
        "mm_fills_runs",
        "mm_fills_migrations",
        "mm_fills_current",
    }
    assert_today(warehouse, tables)


def test_another_name_of_the_table_is_followed_by_the_others(
    warehouse: Warehouse, tables: Tables
) -> None:
    tables = Tables(tables.database, "my `odd` fills")

    migrate(warehouse, tables)

    assert {name.removeprefix(tables.fills) for name in names_there(warehouse, tables)} == {
        "",
        "_rejected",
        "_runs",
        "_migrations",
        "_current",
    }
    assert_today(warehouse, tables)


def test_the_legacy_table_is_kept_whole_and_its_fills_are_carried_over_once(
    warehouse: Warehouse, tables: Tables
) -> None:
    good = legacy_row(1, raw_json=payload("f1", key="trade_id"))
    other = legacy_row(2, side="no", price=0.37, price_cents=37, size=2.5)
    garbage = [
        legacy_row(10, price=0.0, price_cents=0),
        legacy_row(11, price=1.0, price_cents=100),
        legacy_row(12, size=0.0),
        legacy_row(13, size=1.005),
        legacy_row(14, side="bid"),
        legacy_row(15, market_ticker=""),
        legacy_row(16, exchange_order_id=""),
        legacy_row(17, raw_json="{}"),
        legacy_row(18, raw_json="no json"),
        legacy_row(19, raw_json=payload("f19", order="of-another-order")),
        legacy_row(20, ts=datetime(2020, 12, 31, tzinfo=UTC)),
        legacy_row(21, ts=NOW + timedelta(minutes=6)),
    ]
    make(warehouse, tables, rows=[good, other, dict(good), *garbage])
    before = content(warehouse, tables.name())

    done = migrate(warehouse, tables)

    assert fills(
        warehouse,
        tables,
        "fill_id, exchange_order_id, ts, market_ticker, side, price_cents, yes_price_dollars, "
        "no_price_dollars, size, fee_dollars, source, version, client_order_id, "
        "engine_instance_id, engine_version, decision_id, price, fee",
    ) == [
        (
            *("f1", ORDER, good["ts"], good["market_ticker"], "yes"),
            *(Decimal("41"), Decimal("0.41"), Decimal("0.59"), Decimal("10"), None),
            *("legacy", 0, "client-1", "mm-7", "0.9.3", uuid.UUID(int=2), 0.41, 0.16933),
        ),
        (
            *("f2", ORDER, other["ts"], other["market_ticker"], "no"),
            *(Decimal("37"), Decimal("0.63"), Decimal("0.37"), Decimal("2.5"), None),
            *("legacy", 0, "client-2", "mm-7", "0.9.3", uuid.UUID(int=3), 0.37, 0.16933),
        ),
    ]
    assert done.kept == ["mm_fills_legacy_20261122T120000Z"]
    kept = tables.name("_legacy_20261122T120000Z")
    assert warehouse.rows(f"SELECT {', '.join(LEGACY)} FROM {kept} ORDER BY ALL") == sorted(
        [row[: len(LEGACY)] for row in before], key=_as_ordered
    )
    keeping = next(step for step in done.steps if step.name == "keep aside")
    assert "all 15 rows: 2 fills were carried over, 13 rows" in keeping.action
    assert_today(warehouse, tables)


def _as_ordered(row: Row) -> tuple[Any, ...]:
    # UUIDs order by their second half first.
    return tuple(
        (value.int & (2**64 - 1), value.int >> 64) if isinstance(value, uuid.UUID) else value
        for value in row
    )


def test_the_same_id_under_two_orders_is_two_fills(warehouse: Warehouse, tables: Tables) -> None:
    sold = legacy_row(2, exchange_order_id="other", side="no", raw_json=payload("f1", "other"))
    make(warehouse, tables, rows=[legacy_row(1), sold])

    migrate(warehouse, tables)

    assert sorted(fills(warehouse, tables, "fill_id, exchange_order_id")) == [
        ("f1", ORDER),
        ("f1", "other"),
    ]


@pytest.mark.parametrize("added", [("fill_id",), ("action",), ("fill_id", "action")], ids="-".join)
def test_columns_added_by_hand_are_taken_as_they_are(
    warehouse: Warehouse, tables: Tables, added: tuple[str, ...]
) -> None:
    make(warehouse, tables, LEGACY | dict.fromkeys(added, "String"))
    rows = [
        legacy_row(1, fill_id="f1", action="buy", decision_id=NO_DECISION),
        legacy_row(1, fill_id="f1", action="buy", decision_id=uuid.UUID(int=77)),
        legacy_row(1, fill_id="f1", action="buy", decision_id=NO_DECISION, client_order_id=""),
        legacy_row(2, fill_id="", action="sell"),
        legacy_row(3, fill_id="", action="", raw_json="{}"),
        legacy_row(4, fill_id="", action="", raw_json="{}", price_cents=0, price=0.0),
    ]
    wanted = [name for name in rows[0] if name in LEGACY or name in added]
    for row in rows:  # a part each, so that no order among them is given
        insert(warehouse, tables, [{name: row[name] for name in wanted}])

    done = migrate(warehouse, tables)

    actions = ("buy", "sell") if "action" in added else ("", "")
    assert fills(warehouse, tables, "fill_id, action, decision_id, client_order_id") == [
        ("f1", actions[0], uuid.UUID(int=77), "client-1"),
        ("f2", actions[1], uuid.UUID(int=3), "client-2"),
    ]
    assert warehouse.rows(f"SELECT count() FROM {tables.database}.{done.kept[0]}") == [(6,)]
    assert_today(warehouse, tables)


def test_an_id_in_its_column_counts_more_than_the_one_in_the_payload(
    warehouse: Warehouse, tables: Tables
) -> None:
    row = legacy_row(1, fill_id="by-hand")
    make(warehouse, tables, LEGACY | {"fill_id": "String"}, [row])

    migrate(warehouse, tables)

    assert fills(warehouse, tables) == [("by-hand",)]


def test_columns_of_ones_own_are_carried_over_and_can_still_be_written(
    warehouse: Warehouse, tables: Tables
) -> None:
    own = {
        "strategy": "LowCardinality(String)",
        "my e`dge": "Nullable(Float64)",
        "mm_fills": "Int8",
    }
    first = legacy_row(1, **{"strategy": "momentum", "my e`dge": 0.25, "mm_fills": 3})
    make(warehouse, tables, LEGACY | own, [first])

    done = migrate(warehouse, tables)
    insert(
        warehouse, tables, [legacy_row(2) | {"strategy": "later", "my e`dge": None, "mm_fills": 4}]
    )

    named = ", ".join(map(quote_identifier, own))
    assert fills(warehouse, tables, named, "client_order_id") == [
        ("momentum", 0.25, 3),
        ("later", None, 4),
    ]
    assert set(own) < set(done.columns)
    assert_today(warehouse, tables)


def test_a_column_of_ones_own_keeps_its_default(warehouse: Warehouse, tables: Tables) -> None:
    own = {"desk": "String DEFAULT 'new york'", "day": "Date DEFAULT toDate(ts)"}
    make(warehouse, tables, LEGACY | own, [legacy_row(1)])

    migrate(warehouse, tables)
    insert(warehouse, tables, [legacy_row(2)])

    assert fills(warehouse, tables, "desk, day", "client_order_id") == [
        ("new york", TRADED.date()),
        ("new york", TRADED.date()),
    ]


@pytest.mark.parametrize("kind", ["MATERIALIZED", "ALIAS"])
def test_a_computed_column_of_ones_own_goes_on_being_computed(
    warehouse: Warehouse, tables: Tables, kind: str
) -> None:
    make(warehouse, tables, LEGACY | {"notional": f"Float64 {kind} price * size"}, [legacy_row(1)])

    migrate(warehouse, tables)
    insert(warehouse, tables, [legacy_row(2, raw_json="{}")])

    found = warehouse.rows(f"SELECT notional FROM {tables.name()} FINAL")
    assert found == [(pytest.approx(4.1),)] * 2


@pytest.mark.parametrize("name", ["old_side", "old_price", "old_id", "old_moment"])
def test_a_column_of_ones_own_may_have_any_name(
    warehouse: Warehouse, tables: Tables, name: str
) -> None:
    make(warehouse, tables, LEGACY | {name: "String"}, [legacy_row(1, **{name: "mine"})])

    migrate(warehouse, tables)

    assert fills(warehouse, tables, f"fill_id, {name}") == [("f1", "mine")]


NULLABLE = {
    name: f"Nullable({kind})"
    for name, kind in LEGACY.items()
    if name not in ("ts", "market_ticker", "side")
} | {"side": "LowCardinality(Nullable(String))"}


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    ("types", "changes", "expected"),
    [
        pytest.param(
            {"price_cents": None},
            {"price": 0.57},
            {"price_cents": Decimal("57"), "no_price_dollars": Decimal("0.43")},
            id="price in dollars only",
        ),
        pytest.param(
            {"price": None}, {"price_cents": 57}, {"price_cents": Decimal("57")}, id="cents only"
        ),
        pytest.param(
            {"price": "Decimal(9, 4)"},
            {"price": Decimal("0.5750"), "price_cents": 57},
            {"price_cents": Decimal("57.5")},
            id="decimal dollars",
        ),
        pytest.param(
            {"ts": "DateTime"},
            {"ts": TRADED.replace(microsecond=0)},
            {"ts": TRADED.replace(microsecond=0)},
            id="whole seconds",
        ),
        pytest.param(
            NULLABLE,
            {},
            {"price_cents": Decimal("41"), "decision_id": uuid.UUID(int=2), "fee": 0.16933},
            id="nullable, with values",
        ),
        pytest.param(
            NULLABLE,
            {"decision_id": None, "client_order_id": None, "fee": None, "engine_version": None}
            | {"price": None},
            {"price_cents": Decimal("41"), "decision_id": NO_DECISION, "client_order_id": ""}
            | {"engine_version": "", "side": "yes"},
            id="nullable, without",
        ),
        pytest.param(
            {"decision_id": "String"},
            {"decision_id": str(uuid.UUID(int=99))},
            {"decision_id": uuid.UUID(int=99)},
            id="decision as text",
        ),
        pytest.param(
            {"decision_id": "String"},
            {"decision_id": "none"},
            {"decision_id": NO_DECISION},
            id="decision that is none",
        ),
        pytest.param({}, {"size": 0.29}, {"size": Decimal("0.29")}, id="size 0.29"),
        pytest.param({}, {"size": 1.15}, {"size": Decimal("1.15")}, id="size 1.15"),
        pytest.param(
            {}, {"size": 0.1 + 0.2}, {"size": Decimal("0.30")}, id="size that was added up"
        ),
        pytest.param(
            {}, {"size": 1234567.89}, {"size": Decimal("1234567.89")}, id="a great many contracts"
        ),
        pytest.param({"size": "UInt32"}, {"size": 7}, {"size": Decimal("7")}, id="whole contracts"),
        pytest.param(
            {"size": "String"}, {"size": "7.25"}, {"size": Decimal("7.25")}, id="size as text"
        ),
        pytest.param(
            {},
            {"price": 0.005, "price_cents": 0},
            {"price_cents": Decimal("0.5"), "yes_price_dollars": Decimal("0.005")},
            id="half a cent, cut to 0",
        ),
        pytest.param(
            {},
            {"price": 0.995, "price_cents": 99},
            {"price_cents": Decimal("99.5"), "yes_price_dollars": Decimal("0.995")},
            id="half a cent, cut to 99",
        ),
        pytest.param(
            {},
            {"price": 0.1234, "price_cents": 12},
            {"price_cents": Decimal("12.34"), "yes_price_dollars": Decimal("0.1234")},
            id="hundredths of a cent",
        ),
        pytest.param(
            {"price_cents": "Float64"},
            {"price_cents": 41.0, "price": 0.0},
            {"price_cents": Decimal("41")},
            id="cents as float",
        ),
    ],
)
def test_other_types_are_read_exactly(
    warehouse: Warehouse,
    tables: Tables,
    types: dict[str, str | None],
    changes: dict[str, object],
    expected: dict[str, object],
) -> None:
    merged = {**LEGACY, **types}
    held = {name: kind for name, kind in merged.items() if kind is not None}
    row = {name: value for name, value in legacy_row(1, **changes).items() if name in held}
    make(warehouse, tables, held, [row])

    done = migrate(warehouse, tables)

    (found,) = fills(warehouse, tables, ", ".join(expected))
    assert dict(zip(expected, found, strict=True)) == expected
    assert warehouse.rows(f"SELECT count() FROM {tables.database}.{done.kept[0]}") == [(1,)]
    assert_today(warehouse, tables)


def test_a_time_of_another_zone_is_the_same_instant(warehouse: Warehouse, tables: Tables) -> None:
    make(warehouse, tables, rows=[legacy_row(1)], suffix="_utc")
    make(warehouse, tables, LEGACY | {"ts": "DateTime64(6, 'America/New_York')"})
    warehouse.command(f"INSERT INTO {tables.name()} SELECT * FROM {tables.name('_utc')}")

    migrate(warehouse, tables)

    assert fills(warehouse, tables, "ts") == [(TRADED + timedelta(seconds=1),)]


def test_a_table_in_the_embedded_engines_own_database_is_rebuilt(embedded: Warehouse) -> None:
    tables = Tables("default", f"fills_{os.getpid()}")
    try:
        make(embedded, tables, rows=[legacy_row(1)])

        migrate(embedded, tables)

        assert fills(embedded, tables) == [("f1",)]
        assert_today(embedded, tables)
    finally:
        for name in names_there(embedded, tables):
            embedded.command(f"DROP TABLE default.{name}")


def test_numbers_that_are_none_stay_behind(warehouse: Warehouse, tables: Tables) -> None:
    odd = [
        legacy_row(1, price=float("nan"), price_cents=0),
        legacy_row(2, price=float("inf"), price_cents=0),
        legacy_row(3, size=float("nan")),
        legacy_row(4, size=1e300),
        legacy_row(5, size=-1.0),
        legacy_row(6, price=-0.5, price_cents=0),
    ]
    make(warehouse, tables, rows=[*odd, legacy_row(9)])

    done = migrate(warehouse, tables)

    assert fills(warehouse, tables) == [("f9",)]
    assert warehouse.rows(f"SELECT count() FROM {tables.database}.{done.kept[0]}") == [(7,)]


# Today's table, and almost today's


def test_todays_table_needs_nothing(warehouse: Warehouse, tables: Tables) -> None:
    migrate(warehouse, tables)
    before = snapshot(warehouse.rows, tables.database)

    done = migrate(warehouse, tables)

    assert not done.changed
    assert done.kept == []
    assert snapshot(warehouse.rows, tables.database) == before


# Keys, and what a key, an index, a default or the engine is computed from, cannot be dropped.
DROPPABLE = [
    column.name
    for column in wanted_columns()
    if column.name
    not in ("ts", "fill_id", "exchange_order_id", "market_ticker", "content_hash", "version")
    and column.name not in ("price_cents", "side", "yes_price_dollars", "fee_dollars")
]


def test_a_missing_column_is_added_in_place(warehouse: Warehouse, tables: Tables) -> None:
    migrate(warehouse, tables)
    insert(warehouse, tables, [legacy_row(1, fill_id="f1")])
    for name in DROPPABLE:
        warehouse.command(f"ALTER TABLE {tables.name()} DROP COLUMN {name}")
        warehouse.command(tables.sql("migrations/0005_create_current_view"))
        assert name not in dict(columns(warehouse, tables, "_current"))

        done = migrate(warehouse, tables)

        assert done.changed, name
        assert done.kept == [], name
        assert any(name in step.found and step.status == DONE for step in done.steps), name
        assert name in dict(columns(warehouse, tables, "_current")), name
        assert_today(warehouse, tables)
    assert fills(warehouse, tables, "fill_id, exchange_order_id") == [("f1", ORDER)]


def test_a_fee_column_that_is_added_says_what_todays_says(
    warehouse: Warehouse, tables: Tables
) -> None:
    migrate(warehouse, tables)
    row = {name: value for name, value in legacy_row(1, fill_id="f1").items() if name != "fee"}
    insert(warehouse, tables, [row | {"fee_dollars": Decimal("0.169330")}])
    assert fills(warehouse, tables, "fee") == [(0.16933,)]
    warehouse.command(f"ALTER TABLE {tables.name()} DROP COLUMN fee")

    migrate(warehouse, tables)

    assert fills(warehouse, tables, "fee") == [(0.16933,)]


def test_an_added_column_stands_where_todays_stands(warehouse: Warehouse, tables: Tables) -> None:
    migrate(warehouse, tables)
    warehouse.command(f"ALTER TABLE {tables.name()} DROP COLUMN action")

    migrate(warehouse, tables)

    assert columns(warehouse, tables) == wanted_columns()


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        (f"MergeTree ORDER BY ({wanted_sorting_key()})", "engine MergeTree"),
        ("ReplacingMergeTree(version) ORDER BY (market_ticker, fill_id)", "sort key"),
        ("ReplacingMergeTree(version) ORDER BY (market_ticker, ts, fill_id)", "sort key"),
        (
            "ReplacingMergeTree(version) PARTITION BY toYYYYMM(ts) "
            f"ORDER BY ({wanted_sorting_key()})",
            "partitioned by",
        ),
        pytest.param(
            f"ReplacingMergeTree ORDER BY ({wanted_sorting_key()})",
            "engine",
            id="no version",
        ),
        pytest.param(
            f"ReplacingMergeTree(ts) ORDER BY ({wanted_sorting_key()})",
            "engine",
            id="another version",
        ),
    ],
)
def test_todays_columns_on_another_engine_or_key_are_rebuilt(
    warehouse: Warehouse, tables: Tables, engine: str, reason: str
) -> None:
    make_today(warehouse, tables, engine)
    insert(warehouse, tables, [legacy_row(1, fill_id="f1"), legacy_row(2, fill_id="f2")])

    done = migrate(warehouse, tables)

    assert any(reason in step.found for step in done.steps)
    assert warehouse.rows(f"SELECT count() FROM {tables.database}.{done.kept[0]}") == [(2,)]
    assert fills(warehouse, tables) == [("f1",), ("f2",)]
    assert_today(warehouse, tables)


def test_a_rebuild_keeps_the_corrected_row_and_not_the_one_it_replaced(
    warehouse: Warehouse, tables: Tables
) -> None:
    make_today(
        warehouse, tables, "ReplacingMergeTree(version) ORDER BY (market_ticker, ts, fill_id)"
    )
    linked = {"fill_id": "f1", "decision_id": uuid.UUID(int=5)}
    wrong = legacy_row(1, **linked, price_cents=Decimal("41"), version=0)
    exact = legacy_row(2, **linked, price_cents=Decimal("41.5"), version=7, price=0.415)
    for row in (wrong, exact):
        insert(warehouse, tables, [row | {"client_order_id": "c", "size": Decimal("10")}])

    migrate(warehouse, tables)

    assert fills(warehouse, tables, "fill_id, price_cents, ts") == [
        ("f1", Decimal("41.5"), exact["ts"])
    ]


def test_blank_ids_never_collapse_even_where_the_table_was_made_by_hand(
    warehouse: Warehouse, tables: Tables
) -> None:
    make_today(
        warehouse,
        tables,
        changes={
            "`content_hash` UInt64 DEFAULT if(fill_id = '', rand64(), 0)": "`content_hash` UInt64"
        },
    )

    migrate(warehouse, tables)
    for _ in range(2):
        insert(warehouse, tables, [legacy_row(1)])

    assert len(fills(warehouse, tables)) == 2


# Refusals


FOREIGN = {
    "other columns": "CREATE TABLE {name} (a Int8, ts DateTime) ENGINE = MergeTree ORDER BY a",
    "a view": "CREATE VIEW {name} AS SELECT now() AS ts, '' AS market_ticker, "
    "'' AS exchange_order_id, '' AS raw_json",
    "a log table": "CREATE TABLE {name} (ts DateTime64(3), market_ticker String, "
    "exchange_order_id String) ENGINE = Log",
}


@pytest.mark.sampled(5)
@pytest.mark.parametrize("made", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_table_that_is_no_fills_table_is_refused_untouched(
    target: Target, cli: Callable[..., Done], made: str
) -> None:
    target.read(f"CREATE DATABASE {target.database}")
    target.read(made.format(name="DB.mm_fills"))
    if "VIEW" not in made:
        target.read("INSERT INTO DB.mm_fills (ts) VALUES (now())")
    before = _told(target)

    done = cli("migrate", "--format", "json", url=target.url)

    assert done.code == 5
    assert done.json["status"] == "failed"
    assert done.json["exit_code"] == 5
    assert "is not a table of fills" in done.json["error"]
    assert "--table" in done.json["hint"]
    assert done.err.count("hint:") == 1
    assert "Traceback" not in done.err
    assert _told(target) == before


def _told(target: Target) -> list[Row]:
    return snapshot(lambda sql, params=None: target.read(sql, **(params or {})), target.database)


def test_an_edited_migration_is_refused(warehouse: Warehouse, tables: Tables) -> None:
    migrate(warehouse, tables)
    warehouse.command(f"DROP TABLE {tables.name('_runs')}")
    warehouse.command(f"TRUNCATE TABLE {tables.name('_migrations')}")
    _note(warehouse, tables, 4, "0004_create_runs", "0123456789abcdef")
    before = snapshot(warehouse.rows, tables.database)

    with pytest.raises(SchemaError, match="0004_create_runs was edited after it was applied") as it:
        migrate(warehouse, tables)

    assert it.value.exit_code == 5
    assert "0123456789abcdef" in it.value.message
    assert snapshot(warehouse.rows, tables.database) == before


def test_a_ledger_of_a_newer_version_is_refused(warehouse: Warehouse, tables: Tables) -> None:
    migrate(warehouse, tables)
    _note(warehouse, tables, 99, "0099_something_new", "0123456789abcdef")
    before = snapshot(warehouse.rows, tables.database)

    with pytest.raises(SchemaError, match=r"99 .*newer version") as caught:
        migrate(warehouse, tables)

    assert caught.value.exit_code == 5
    assert "upgrade" in caught.value.hint
    assert snapshot(warehouse.rows, tables.database) == before


def _note(warehouse: Warehouse, tables: Tables, version: int, name: str, checksum: str) -> None:
    warehouse.insert(
        tables.name("_migrations"),
        ("version", "name", "checksum", "applied_at", "tool_version"),
        [(version, name, checksum, NOW, "0")],
    )


def test_an_unfinished_migration_of_a_newer_version_is_refused(
    warehouse: Warehouse, tables: Tables
) -> None:
    make(warehouse, tables, rows=[legacy_row(1)])
    make(warehouse, tables, LEGACY | {"settled_at": "DateTime"}, suffix=NEXT)
    before = snapshot(warehouse.rows, tables.database)

    with pytest.raises(SchemaError, match="settled_at") as caught:
        migrate(warehouse, tables)

    assert "newer version" in caught.value.message
    assert snapshot(warehouse.rows, tables.database) == before


def test_two_tables_of_today_are_not_guessed_about(warehouse: Warehouse, tables: Tables) -> None:
    migrate(warehouse, tables)
    warehouse.command(f"CREATE TABLE {tables.name(NEXT)} AS {tables.name()}")
    before = snapshot(warehouse.rows, tables.database)

    with pytest.raises(SchemaError, match="both of today's schema"):
        migrate(warehouse, tables)

    assert snapshot(warehouse.rows, tables.database) == before


@pytest.mark.server
def test_a_database_that_cannot_exchange_is_refused_before_anything_is_done(
    server: ClickHouseServer, cli: Callable[..., Done]
) -> None:
    database = f"ordinary_{os.getpid()}"
    opened = open_server(server.url("default") + "?allow_deprecated_database_ordinary=1")
    try:
        opened.command(f"CREATE DATABASE {database} ENGINE = Ordinary")
        make(opened, Tables(database), rows=[legacy_row(1)])
        before = snapshot(opened.rows, database)

        for words in (("migrate",), ("migrate", "--dry-run")):
            done = cli(*words, "--format", "json", url=server.url(database))

            assert done.code == 5
            assert "Ordinary" in done.json["error"]
            assert "Atomic" in done.json["hint"]
        assert snapshot(opened.rows, database) == before
    finally:
        opened.command(f"DROP DATABASE IF EXISTS {database}")
        opened.close()


# What the user may do


NEEDED = (
    "SELECT",
    "INSERT",
    "CREATE TABLE",
    "CREATE VIEW",
    "DROP TABLE",
    "DROP VIEW",
    "ALTER ADD COLUMN",
    "ALTER MODIFY COLUMN",
    "ALTER DELETE",
)
BUT_ADD_COLUMN = ", ".join(privilege for privilege in NEEDED if privilege != "ALTER ADD COLUMN")


@pytest.fixture
def users(server_with_users: ServerWithUsers) -> Iterator[Users]:
    made = Users(server_with_users, Tables(f"users_{os.getpid()}_{next(_serial)}"))
    yield made
    made.admin.command(f"DROP DATABASE IF EXISTS {made.tables.database}")
    made.close()


@pytest.mark.server
def test_a_user_of_a_read_only_profile_is_refused_before_anything_is_done(
    users: Users, cli: Callable[..., Done]
) -> None:
    make(users.admin, users.tables, rows=[legacy_row(1)])
    before = snapshot(users.admin.rows, users.tables.database)
    url = users.url(
        "looker", "GRANT CURRENT GRANTS ON DB.* TO USER", settings="SETTINGS readonly = 2"
    )

    for words in (("migrate",), ("migrate", "--dry-run")):
        done = cli(*words, "--format", "json", url=url)

        assert done.code == 5
        assert "may only read" in done.json["error"]
        assert done.err.count("hint:") == 1
    assert snapshot(users.admin.rows, users.tables.database) == before


@pytest.mark.server
def test_a_user_who_may_not_even_change_settings_is_told_that_he_may_only_read(
    users: Users, cli: Callable[..., Done]
) -> None:
    make(users.admin, users.tables, rows=[legacy_row(1)])
    before = snapshot(users.admin.rows, users.tables.database)
    url = users.url(
        "strict", "GRANT CURRENT GRANTS ON DB.* TO USER", settings="SETTINGS readonly = 1"
    )

    done = cli("migrate", "--format", "json", url=url)

    assert done.code == 5
    assert snapshot(users.admin.rows, users.tables.database) == before
    assert "may only read" in done.json["error"]


@pytest.mark.server
def test_a_user_who_may_only_select_is_told_what_is_missing(
    users: Users, cli: Callable[..., Done]
) -> None:
    make(users.admin, users.tables, rows=[legacy_row(1)])
    before = snapshot(users.admin.rows, users.tables.database)
    url = users.url("reader", "GRANT SELECT ON DB.* TO USER")

    for words in (("migrate",), ("migrate", "--dry-run")):
        done = cli(*words, "--format", "json", url=url)

        assert done.code == 5
        for privilege in NEEDED[1:]:
            assert privilege in done.json["error"]
        assert "SELECT" not in done.json["error"]
        assert "GRANT INSERT" in done.json["hint"]
    assert snapshot(users.admin.rows, users.tables.database) == before


@pytest.mark.server
def test_a_user_with_just_what_is_asked_for_is_not_stopped_half_way(users: Users) -> None:
    make(users.admin, users.tables, rows=[legacy_row(1)])
    warehouse = users.open(users.url("just", f"GRANT {', '.join(NEEDED)} ON DB.* TO USER"))
    before = snapshot(users.admin.rows, users.tables.database)

    refused = ""
    try:
        migrate(warehouse, users.tables)
    except SchemaError as error:
        refused = error.message

    if refused:
        assert "system.processes" in refused
        assert snapshot(users.admin.rows, users.tables.database) == before
    else:
        assert fills(users.admin, users.tables) == [("f1",)]
        assert_today(users.admin, users.tables)


@pytest.mark.server
def test_a_user_who_may_also_see_the_inserts_in_flight_can_migrate(users: Users) -> None:
    make(users.admin, users.tables, rows=[legacy_row(1)])
    seeing = "GRANT SELECT ON system.processes TO USER"
    url = users.url("seeing", f"GRANT {', '.join(NEEDED)} ON DB.* TO USER", seeing)

    done = migrate(users.open(url), users.tables)

    assert len(done.kept) == 1
    assert fills(users.admin, users.tables) == [("f1",)]
    assert_today(users.admin, users.tables)


@pytest.mark.server
@pytest.mark.parametrize("missing", NEEDED[1:])
def test_each_missing_privilege_is_named_by_the_plan(users: Users, missing: str) -> None:
    make(users.admin, users.tables, rows=[legacy_row(1)])
    given = ", ".join(privilege for privilege in NEEDED if privilege != missing)
    warehouse = users.open(users.url("almost", f"GRANT {given} ON DB.* TO USER"))
    before = snapshot(users.admin.rows, users.tables.database)

    with pytest.raises(SchemaError, match=f"lacks {missing} on"):
        migrate(warehouse, users.tables, dry_run=True)
    with pytest.raises(SchemaError, match=f"lacks {missing} on"):
        migrate(warehouse, users.tables)

    assert snapshot(users.admin.rows, users.tables.database) == before


@pytest.mark.server
@pytest.mark.parametrize(
    "statements",
    [
        pytest.param(
            (
                "CREATE ROLE role_USER",
                f"GRANT {BUT_ADD_COLUMN} ON DB.* TO role_USER",
                "GRANT role_USER TO USER",
            ),
            id="by a role that lacks it",
        ),
        pytest.param(
            ("GRANT CURRENT GRANTS ON *.* TO USER", "REVOKE ALTER ON DB.* FROM USER"),
            id="all, but for one",
        ),
        pytest.param(
            (
                f"GRANT {BUT_ADD_COLUMN} ON DB.* TO USER",
                "GRANT TABLE ENGINE ON MergeTree TO USER",
            ),
            id="with a grant of another form",
        ),
    ],
)
def test_a_missing_privilege_is_found_however_the_others_were_given(
    users: Users, statements: tuple[str, ...]
) -> None:
    make(users.admin, users.tables, rows=[legacy_row(1)])
    warehouse = users.open(users.url("odd", *statements))
    before = snapshot(users.admin.rows, users.tables.database)

    with pytest.raises((SchemaError, WarehouseError), match="ALTER ADD COLUMN"):
        migrate(warehouse, users.tables)

    assert snapshot(users.admin.rows, users.tables.database) == before


@pytest.mark.server
def test_a_user_with_all_by_a_role_can_migrate(users: Users) -> None:
    make(users.admin, users.tables, rows=[legacy_row(1)])
    url = users.url(
        "member",
        "CREATE ROLE role_USER",
        f"GRANT {', '.join(NEEDED)} ON DB.* TO role_USER",
        "GRANT SELECT ON system.processes TO role_USER",
        "GRANT role_USER TO USER",
    )

    migrate(users.open(url), users.tables)

    assert fills(users.admin, users.tables) == [("f1",)]


@pytest.mark.server
def test_a_user_who_may_not_create_the_missing_database_is_told_by_the_plan(users: Users) -> None:
    warehouse = users.open(users.url("nobase", f"GRANT {', '.join(NEEDED)} ON DB.* TO USER"))

    with pytest.raises(SchemaError, match="CREATE DATABASE"):
        migrate(warehouse, users.tables, dry_run=True)


# A dry run


@pytest.mark.parametrize("there", ["nothing", "a legacy table", "today's but a column"])
def test_a_dry_run_tells_the_plan_and_writes_nothing(
    warehouse: Warehouse, tables: Tables, there: str
) -> None:
    if there == "a legacy table":
        make(warehouse, tables, rows=[legacy_row(number) for number in range(5)])
    elif there != "nothing":
        make_today(warehouse, tables)
        warehouse.command(f"ALTER TABLE {tables.name()} DROP COLUMN is_taker")
    before = snapshot(warehouse.rows, tables.database)

    planned = migrate(warehouse, tables, dry_run=True)

    assert snapshot(warehouse.rows, tables.database) == before
    assert planned.changed
    assert planned.kept == []
    assert {step.status for step in planned.steps} <= {PLANNED, NOTHING}
    done = migrate(warehouse, tables)
    assert [(step.name, step.found) for step in planned.steps] == [
        (step.name, step.found) for step in done.steps
    ]
    assert [step.status == PLANNED for step in planned.steps] == [
        step.status == DONE for step in done.steps
    ]


def test_a_dry_run_of_the_command_lists_steps_with_rows_and_bytes(
    target: Target, cli: Callable[..., Done]
) -> None:
    _generate(target, garbage=1_000, good=0)
    before = _told(target)

    done = cli("migrate", "--dry-run", "--format", "json", url=target.url)

    assert done.code == 0
    assert _told(target) == before
    assert done.json["changed"] is True
    assert done.json["kept"] == []
    steps = {step["name"]: step for step in done.json["steps"]}
    ((size,),) = target.read(
        "SELECT total_bytes FROM system.tables WHERE database = {d:String} AND name = 'mm_fills'",
        d=target.database,
    )
    assert steps["carry over"]["rows"] == 1_000
    assert steps["carry over"]["bytes"] == size
    assert {"new table", "carry over", "exchange", "late rows", "keep aside"} <= steps.keys()
    assert not (
        target.read(
            "SELECT 1 FROM system.tables WHERE database = {d:String} AND name != 'mm_fills'",
            d=target.database,
        )
    )


def test_the_plan_on_paper_has_rows_and_bytes(target: Target, cli: Callable[..., Done]) -> None:
    _generate(target, garbage=1_000, good=0)

    done = cli("migrate", "--dry-run", url=target.url, env={"COLUMNS": "250"})

    assert done.code == 0
    (line,) = [line for line in done.out.splitlines() if line.strip().startswith("carry over")]
    assert "1,000" in line
    assert re.search(r"\d (bytes|kB|MB)", line)
    assert "planned" in line
    assert "Nothing was written" in done.out


# The incident


def _generate(target: Target, *, garbage: int, good: int) -> None:
    """Make the incident's table: rows without a price, one order in two, and some good ones."""
    target.read(f"CREATE DATABASE {target.database}")
    listed = ", ".join(f"{name} {kind}" for name, kind in LEGACY.items())
    target.read(f"CREATE TABLE DB.mm_fills ({listed}) ENGINE = {LEGACY_ENGINE}")
    for count, start, price in ((garbage, 0, 0.0), (good, 10_000_000, 0.41)):
        if not count:
            continue
        target.read(
            f"INSERT INTO DB.mm_fills ({', '.join(LEGACY)}) SELECT "
            "toDateTime64('2026-05-01 00:00:00', 3, 'UTC') + toIntervalSecond(number * 10), "
            "'mm-7', '0.9.3', concat('KXHIGHNY-', toString(number % 40)), "
            "concat('order-', toString(if(number % 5 < 2, 0, number % 1000))), "
            f"concat('client-', toString(number + {start})), 'yes', {price}, "
            f"toUInt16(round({price} * 100)), 10, 0, generateUUIDv4(), "
            'concat(\'{"fill_id": "f\', toString(number), \'", "order_id": "\', '
            "concat('order-', toString(if(number % 5 < 2, 0, number % 1000))), '\"}') "
            f"FROM numbers({count})"
        )


def test_the_incidents_table_becomes_todays_and_is_kept_whole(
    target: Target, cli: Callable[..., Done], serve: Callable[..., PracticeExchange], now: datetime
) -> None:
    _generate(target, garbage=352_000, good=40)

    done = cli("migrate", "--format", "json", url=target.url)

    assert done.code == 0, done.err
    told = done.json
    assert told["command"] == "migrate"
    assert told["changed"] is True
    assert {"command", "changed", "steps", "kept", "columns"} <= told.keys()
    assert all(step.keys() >= STEP_KEYS for step in told["steps"])
    (kept,) = told["kept"]
    assert target.read(f"SELECT count(), countIf(price = 0) FROM DB.{kept}") == [(352_040, 352_000)]
    assert target.read(
        "SELECT count(), uniqExact(fill_id, exchange_order_id), min(price_cents), "
        "countIf(toUInt32(substring(client_order_id, 8)) >= 10000000) FROM DB.mm_fills FINAL"
    ) == [(40, 40, Decimal("41"), 40)]
    lines = [json.loads(line) for line in done.err.splitlines()]
    wanted = [column.name for column in wanted_columns()]
    assert f"mm_fills columns: {wanted}" in [line["event"] for line in lines]
    assert told["columns"] == wanted
    assert wanted[:2] == ["ts", "fill_id"]
    carried = next(step for step in told["steps"] if step["name"] == "keep aside")["action"]
    assert "352,040 rows: 40 fills were carried over, 352,000 rows" in carried

    again = cli("migrate", "--format", "json", url=target.url)

    assert again.code == 0
    assert again.json["changed"] is False
    assert again.json["kept"] == []
    assert {step["status"] for step in again.json["steps"]} == {"nothing to do"}
    assert "Nothing to do" in cli("migrate", url=target.url).out

    truth = the_incident(now)
    synced = cli("sync", "--full", "--format", "json", url=target.url, api=serve(truth).url)

    assert synced.json["stages"]["n_new"] == 5, synced.err
    assert target.read("SELECT source, count() FROM DB.mm_fills FINAL GROUP BY 1 ORDER BY 1") == [
        ("legacy", 40),
        ("live", 5),
    ]


def test_a_sync_makes_carried_rows_exact_instead_of_doubling_them(
    target: Target, cli: Callable[..., Done], serve: Callable[..., PracticeExchange], now: datetime
) -> None:
    account = generate_account(11, 40, start=now - timedelta(days=3), end=now, eras="current")
    _write_as_engine(target, account.fills)

    assert cli("migrate", url=target.url).code == 0
    carried = target.read("SELECT count() FROM DB.mm_fills FINAL WHERE source = 'legacy'")
    synced = cli("sync", "--full", "--format", "json", url=target.url, api=serve(account).url)

    assert carried == [(40,)]
    assert synced.code == 0, synced.err
    assert synced.json["stages"]["n_corrected"] == 40
    assert synced.json["stages"]["n_new"] == 0
    assert _exact(target) == sorted(map(_truth, account.fills))


def _write_as_engine(target: Target, written: Sequence[PracticeFill]) -> None:
    """Fill a legacy table as a careful engine did: its own clock, whole cents, its decisions."""
    target.read(f"CREATE DATABASE {target.database}")
    listed = ", ".join(f"{name} {kind}" for name, kind in LEGACY.items())
    target.read(f"CREATE TABLE DB.mm_fills ({listed}) ENGINE = {LEGACY_ENGINE}")
    rows = []
    for fill in written:
        price = fill.yes_price if fill.outcome_side == "yes" else 1 - fill.yes_price
        told = fill.payload_json("current").replace("\\", "\\\\").replace("'", "\\'")
        rows.append(
            f"(fromUnixTimestamp64Milli({fill.executed_at_us // 1000 + 250}, 'UTC'), 'mm-7', "
            f"'0.9.3', '{fill.ticker}', '{fill.order_id}', 'client-{fill.fill_id}', "
            f"'{fill.outcome_side}', {price}, {max(int(price * 100), 1)}, {fill.count}, 0, "
            f"'{_decision(fill)}', '{told}')"
        )
    target.read(f"INSERT INTO DB.mm_fills ({', '.join(LEGACY)}) VALUES {', '.join(rows)}")


def _decision(fill: PracticeFill) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, fill.fill_id)


EXACT = (
    "fill_id, exchange_order_id, ts, market_ticker, side, yes_price_dollars, size, fee_dollars, "
    "is_taker, source, engine_instance_id, engine_version, decision_id"
)


def _exact(target: Target) -> list[Row]:
    return target.read(f"SELECT {EXACT} FROM DB.mm_fills FINAL ORDER BY fill_id")


def _truth(fill: PracticeFill) -> Row:
    return (
        *(fill.fill_id, fill.order_id),
        datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=fill.executed_at_us),
        *(fill.ticker, fill.outcome_side, fill.yes_price, fill.count, fill.fee, fill.is_taker),
        *("live", "mm-7", "0.9.3", _decision(fill)),
    )


def test_an_engines_old_insert_works_and_the_next_sync_makes_its_row_exact(
    target: Target,
    cli: Callable[..., Done],
    serve: Callable[..., PracticeExchange],
    now: datetime,
    request: pytest.FixtureRequest,
) -> None:
    account = generate_account(12, 30, start=now - timedelta(hours=2), end=now, eras="current")
    exchange = serve(account)
    _write_as_engine(target, account.fills[20:])
    assert cli("migrate", url=target.url).code == 0
    assert cli("sync", url=target.url, api=exchange.url).code == 0
    # The table knows all 30 already, as it would when the engine writes behind a sync, ...
    _old_insert(target, request, account.fills[:10])
    # ... and only now as new ones.
    target.read("TRUNCATE TABLE DB.mm_fills")
    _old_insert(target, request, account.fills)

    assert target.read("SELECT count() FROM DB.mm_fills FINAL") == [(30,)]
    synced = cli("sync", "--full", "--format", "json", url=target.url, api=exchange.url)

    assert synced.code == 0, synced.err
    assert synced.json["stages"]["n_new"] == 0
    assert synced.json["stages"]["n_corrected"] == 30
    assert _exact(target) == sorted(map(_truth, account.fills))


def _old_insert(
    target: Target, request: pytest.FixtureRequest, written: Sequence[PracticeFill]
) -> None:
    lines = [ENGINE_COLUMNS.replace(" ", "")]
    for fill in written:
        cents = 100 * (fill.yes_price if fill.outcome_side == "yes" else 1 - fill.yes_price)
        moment = datetime.fromtimestamp(fill.executed_at_us // 1_000_000 + 1, UTC)
        told = fill.payload_json("current").replace('"', '""')
        lines.append(
            f"{moment:%Y-%m-%d %H:%M:%S}.250,mm-7,0.9.3,{fill.ticker},{fill.order_id},"
            f"client-{fill.fill_id},{fill.outcome_side},{max(int(cents), 1)},{fill.count},"
            f'{_decision(fill)},{fill.fill_id},"{told}"'
        )
    sent = f"INSERT INTO DB.mm_fills ({ENGINE_COLUMNS}) FORMAT CSVWithNames\n"
    body = "\n".join(lines) + "\n"
    if target.url.startswith("chdb"):
        target.read(sent + body)
        return
    server: ClickHouseServer = request.getfixturevalue("server")
    subprocess.run(
        [
            *(os.environ["CLICKHOUSE_BINARY"], "client", "--host", "127.0.0.1"),
            *("--port", str(server.port), "--password", PASSWORD),
            *("--query", sent.replace("DB.", f"{target.database}.")),
        ],
        input=body,
        text=True,
        check=True,
        capture_output=True,
    )


def test_an_engine_goes_on_inserting_with_its_thirteen_columns(
    warehouse: Warehouse, tables: Tables
) -> None:
    make(warehouse, tables, rows=[legacy_row(1)])
    migrate(warehouse, tables)

    for _ in range(3):  # blank ids, all else equal: three rows
        insert(warehouse, tables, [legacy_row(2)])
    named = legacy_row(3) | {"fill_id": ""}
    insert(warehouse, tables, [named, named])
    warehouse.command(f"OPTIMIZE TABLE {tables.name()} FINAL")

    found = fills(warehouse, tables, "client_order_id, price_cents, yes_price_dollars, size")
    assert sorted(found) == [
        (f"client-{number}", Decimal("41"), Decimal("0.41"), Decimal("10"))
        for number in (1, 2, 2, 2, 3, 3)
    ]


# Killed, and run again


class _KilledError(BaseException):
    """Stands for kill -9: nothing catches it."""


class _Dying:
    """A warehouse whose client dies right after its n-th statement that writes."""

    def __init__(self, warehouse: Warehouse, statements: int) -> None:
        self._warehouse = warehouse
        self._left = statements

    def rows(
        self,
        sql: str,
        params: Mapping[str, Value] | None = None,
        *,
        wanted: TextTable | None = None,
    ) -> list[Row]:
        return self._warehouse.rows(sql, params, wanted=wanted)

    def command(self, sql: str, params: Mapping[str, Value] | None = None) -> None:
        self._warehouse.command(sql, params)
        self._die()

    def insert(self, table: str, names: Sequence[str], rows: Sequence[Sequence[Value]]) -> None:
        self._warehouse.insert(table, names, rows)
        self._die()

    def close(self) -> None:
        self._warehouse.close()

    def _die(self) -> None:
        self._left -= 1
        if self._left <= 0:
            raise _KilledError


def _start_legacy(warehouse: Warehouse, tables: Tables) -> None:
    make(
        warehouse,
        tables,
        rows=[legacy_row(1), legacy_row(2), legacy_row(3, price=0, price_cents=0)],
    )


def _start_other_key(warehouse: Warehouse, tables: Tables) -> None:
    migrate(warehouse, tables)
    warehouse.command(f"DROP TABLE {tables.name()}")
    make_today(
        warehouse, tables, "ReplacingMergeTree(version) ORDER BY (market_ticker, ts, fill_id)"
    )
    insert(
        warehouse,
        tables,
        [
            legacy_row(1, fill_id="f1"),
            legacy_row(2, fill_id="f2"),
            legacy_row(3, fill_id="", raw_json="{}"),
        ],
    )


def _start_column_missing(warehouse: Warehouse, tables: Tables) -> None:
    migrate(warehouse, tables)
    insert(
        warehouse,
        tables,
        [
            legacy_row(1, fill_id="f1"),
            legacy_row(2, fill_id="f2"),
            legacy_row(3, fill_id="", raw_json="{}"),
        ],
    )
    warehouse.command(f"ALTER TABLE {tables.name()} DROP COLUMN is_taker")
    warehouse.command(tables.sql("migrations/0005_create_current_view"))


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    ("start", "least"),
    [
        pytest.param(_start_legacy, 15, id="legacy"),
        pytest.param(_start_other_key, 6, id="another key"),
        pytest.param(_start_column_missing, 2, id="a column missing"),
    ],
)
def test_a_run_killed_after_any_statement_is_ended_right_by_the_next(
    warehouse: Warehouse, tables: Tables, start: Callable[[Warehouse, Tables], None], least: int
) -> None:
    killed = 0
    while True:
        warehouse.command(f"DROP DATABASE IF EXISTS {tables.database} SYNC")
        start(warehouse, tables)
        killed += 1
        try:
            migrate(_Dying(warehouse, killed), tables)
        except _KilledError:
            pass
        else:
            break

        migrate(warehouse, tables)

        where = f"killed after statement {killed}"
        assert_today(warehouse, tables)
        there = names_there(warehouse, tables)
        assert not [name for name in there if name.endswith(NEXT)], where
        kept = [name for name in there if "_legacy_" in name]
        found = {row[0] for row in fills(warehouse, tables, "client_order_id")}
        assert {"client-1", "client-2"} <= found, where
        assert len(fills(warehouse, tables)) == len(found), where
        for name in kept:
            assert warehouse.rows(f"SELECT count() FROM {tables.database}.{name}") == [(3,)], where
        assert bool(kept) == (start is not _start_column_missing), where
    assert killed > least


def test_a_half_filled_copy_is_started_anew(warehouse: Warehouse, tables: Tables) -> None:
    make(warehouse, tables, rows=[legacy_row(1), legacy_row(2)])
    before = content(warehouse, tables.name())
    other = Tables(f"{tables.database}_other")
    try:
        make(warehouse, other, rows=[legacy_row(1)])
        migrate(warehouse, other)
        warehouse.command(tables.sql("migrations/0002_create_fills", suffixes={"": NEXT}))
        warehouse.command(f"INSERT INTO {tables.name(NEXT)} SELECT * FROM {other.name()}")
    finally:
        warehouse.command(f"DROP DATABASE {other.database}")

    done = migrate(warehouse, tables)

    assert next(step for step in done.steps if step.name == "unfinished copy").rows == 1
    assert fills(warehouse, tables) == [("f1",), ("f2",)]
    kept = f"{tables.database}.{done.kept[0]}"
    assert warehouse.rows(f"SELECT count() FROM {kept}") == [(len(before),)]
    assert_today(warehouse, tables)


def _after_exchange(
    warehouse: Warehouse, tables: Tables, rows: Sequence[Mapping[str, object]]
) -> None:
    """Make what a kill right after the exchange leaves, when the engine went on writing."""
    make(warehouse, tables, rows=rows, suffix=NEXT)
    warehouse.command(tables.sql("schema/add_columns", suffixes={"": NEXT}))
    warehouse.command(tables.sql("migrations/0002_create_fills"))


def test_what_came_late_into_the_old_table_is_carried_over_after_the_exchange(
    warehouse: Warehouse, tables: Tables
) -> None:
    _after_exchange(warehouse, tables, [legacy_row(1), legacy_row(2)])
    insert(warehouse, tables, [legacy_row(3)])

    with pytest.raises(SchemaError) as refused:
        require_today(warehouse, tables)
    done = migrate(warehouse, tables)

    assert "migrate" in refused.value.hint
    assert fills(warehouse, tables, "fill_id, client_order_id", "client_order_id") == [
        ("f1", "client-1"),
        ("f2", "client-2"),
        ("", "client-3"),
    ]
    assert warehouse.rows(f"SELECT count() FROM {tables.database}.{done.kept[0]}") == [(2,)]
    assert_today(warehouse, tables)


@pytest.mark.server
def test_an_insert_that_began_before_the_exchange_is_waited_for_and_carried_over(
    server: ClickHouseServer,
) -> None:
    tables = Tables(f"in_flight_{os.getpid()}")
    warehouse, writer, looker = (open_server(server.url("default")) for _ in range(3))
    try:
        make(warehouse, tables, rows=[legacy_row(1)])
        slow = threading.Thread(
            target=writer.command,
            args=(
                f"INSERT INTO {tables.name()} ({', '.join(LEGACY)}) SELECT * REPLACE "
                '(\'{"fill_id": "late", "order_id": "' + ORDER + "\"}' AS raw_json) "
                f"FROM {tables.name()} WHERE sleepEachRow(3) = 0",
            ),
        )
        slow.start()
        running = (
            "SELECT count() FROM system.processes WHERE query_kind = 'Insert' "
            "AND query LIKE '%sleepEachRow(3)%' AND elapsed > 0.3"
        )
        while not looker.rows(running)[0][0]:
            time.sleep(0.02)

        done = migrate(warehouse, tables)
        slow.join(timeout=60)

        steps = {step.name: step for step in done.steps}
        assert steps["late rows"].seconds > 1
        assert "1 fills had come late" in steps["late rows"].action
        assert fills(warehouse, tables) == [("f1",), ("late",)]
        assert warehouse.rows(f"SELECT count() FROM {tables.database}.{done.kept[0]}") == [(2,)]
    finally:
        warehouse.command(f"DROP DATABASE IF EXISTS {tables.database} SYNC")
        for opened in (warehouse, writer, looker):
            opened.close()


def test_an_exact_row_is_not_replaced_by_the_late_copy(
    warehouse: Warehouse, tables: Tables
) -> None:
    _after_exchange(warehouse, tables, [legacy_row(1)])
    exact = legacy_row(1, fill_id="f1", price_cents=Decimal("41.5"), size=Decimal("10"), version=5)
    insert(warehouse, tables, [exact])

    migrate(warehouse, tables)

    assert fills(warehouse, tables, "fill_id, price_cents") == [("f1", Decimal("41.5"))]


def test_a_link_that_an_engine_wrote_after_the_exchange_outlives_the_late_copy(
    warehouse: Warehouse, tables: Tables
) -> None:
    _after_exchange(warehouse, tables, [legacy_row(1, decision_id=NO_DECISION, client_order_id="")])
    linked = legacy_row(1, fill_id="f1", price_cents=Decimal("41"), size=Decimal("10"))
    insert(warehouse, tables, [linked])

    migrate(warehouse, tables)

    assert fills(warehouse, tables, "fill_id, decision_id, client_order_id") == [
        ("f1", linked["decision_id"], "client-1")
    ]


def test_an_old_table_under_the_unfinished_name_is_never_destroyed(
    warehouse: Warehouse, tables: Tables
) -> None:
    """Killed after the exchange, and then the table in place stopped being today's, too."""
    _after_exchange(warehouse, tables, [legacy_row(1), legacy_row(2, raw_json="{}")])
    warehouse.command(f"ALTER TABLE {tables.name()} MODIFY COLUMN fee Float32")
    insert(warehouse, tables, [legacy_row(3, fill_id="f3")])

    try:
        migrate(warehouse, tables)
    except SchemaError:
        assert len(content(warehouse, tables.name(NEXT))) == 2
        return

    left: set[str] = set()
    for name in names_there(warehouse, tables):
        if name == "mm_fills" or "_legacy_" in name or name.endswith(NEXT):
            found = warehouse.rows(f"SELECT client_order_id FROM {tables.database}.{name}")
            left |= {row[0] for row in found}
    assert left == {"client-1", "client-2", "client-3"}


@pytest.mark.parametrize("lost", ["_runs", "_rejected", "_current", "_migrations"])
def test_a_table_of_ours_that_was_dropped_is_made_again(
    warehouse: Warehouse, tables: Tables, lost: str
) -> None:
    migrate(warehouse, tables)
    insert(warehouse, tables, [legacy_row(1, fill_id="f1")])
    warehouse.command(f"DROP TABLE {tables.name(lost)}")

    done = migrate(warehouse, tables)

    assert done.changed
    assert done.kept == []
    assert fills(warehouse, tables) == [("f1",)]
    assert_today(warehouse, tables)


def test_two_rebuilds_keep_two_old_tables(warehouse: Warehouse, tables: Tables) -> None:
    make(warehouse, tables, rows=[legacy_row(1)])
    first = migrate(warehouse, tables)
    warehouse.command(f"DROP TABLE {tables.name()}")
    make(warehouse, tables, rows=[legacy_row(2)])
    later = bring_to_today(warehouse, tables, NOW + timedelta(hours=1))

    assert len({*first.kept, *later.kept}) == 2
    assert {*first.kept, *later.kept} < names_there(warehouse, tables)
    assert fills(warehouse, tables) == [("f2",)]
