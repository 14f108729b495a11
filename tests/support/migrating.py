"""Tables to be migrated, and what they must be afterwards."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

from kalshi_fills.migrate.run import NOTHING, MigrationReport
from kalshi_fills.migrate.run import migrate as bring_to_today
from kalshi_fills.warehouse.client import Row, Warehouse
from kalshi_fills.warehouse.declared import wanted_columns, wanted_sorting_key
from kalshi_fills.warehouse.schema import require_today
from kalshi_fills.warehouse.statements import Tables
from kalshi_fills.warehouse.there import columns
from support.commandline import Target
from support.legacy import (
    LEGACY,
    LEGACY_ENGINE,
)

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


NO_DECISION = uuid.UUID(int=0)


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
    """Return the logical fills, as the view shows them."""
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


def generate(target: Target, *, garbage: int, good: int) -> None:
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
