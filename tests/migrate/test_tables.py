"""Any table that people come with becomes today's."""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from support.legacy import (
    LEGACY,
    ORDER,
    TRADED,
    content,
    insert,
    legacy_row,
    make,
    names_there,
    payload,
    snapshot,
)
from support.migrating import NO_DECISION, NOW, assert_today, fills, make_today, migrate

from kalshi_fills.migrate.run import DONE
from kalshi_fills.warehouse.client import Row, Warehouse
from kalshi_fills.warehouse.declared import wanted_columns, wanted_sorting_key
from kalshi_fills.warehouse.statements import Tables, quote_identifier
from kalshi_fills.warehouse.there import columns

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
        "mm_fills_settlements",
        "mm_fills_migrations",
        "mm_fills_current",
        "mm_fills_by_market",
        "mm_fills_by_day",
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
        "_settlements",
        "_migrations",
        "_current",
        "_by_market",
        "_by_day",
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


@pytest.mark.sampled(9)
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
