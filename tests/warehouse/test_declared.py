"""Today's schema is what the migration files declare, whichever they are."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.later_schema import one_more_migration

from kalshi_fills.errors import SchemaError
from kalshi_fills.migrate.run import migrate
from kalshi_fills.warehouse.client import Warehouse
from kalshi_fills.warehouse.declared import (
    OUR_TABLES,
    SUFFIX_OF,
    DeclaredColumn,
    added_columns,
    first_columns,
    todays_columns,
)
from kalshi_fills.warehouse.schema import require_today, schema_of
from kalshi_fills.warehouse.statements import Tables, load

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LATER = """-- title: two columns of a later version
-- why: a test
ALTER TABLE `mm_fills` /* ON CLUSTER */
    ADD COLUMN IF NOT EXISTS `strategy` LowCardinality(String) DEFAULT 'none' COMMENT 'its, it''s',
    ADD COLUMN IF NOT EXISTS `edge` Nullable(Decimal(9, 6)) AFTER `strategy`
"""


def test_what_the_migrations_make() -> None:
    assert list(dict.fromkeys(SUFFIX_OF.values())) == [
        "_migrations",
        "",
        "_rejected",
        "_runs",
        "_current",
        "_settlements",
        "_by_market",
        "_by_day",
    ]
    assert OUR_TABLES == ("_migrations", "_rejected", "_runs", "_settlements")


def test_the_columns_that_a_migration_adds() -> None:
    added = [found.column for found in added_columns(load("migrations/0006_alter_runs"))]
    assert [column.name for column in added] == [
        "environment",
        "key_digest",
        "settlements_watermark",
        "table_identity",
        "fills_held",
        "open_breaks",
        "open_breaks_listed",
        "notes",
    ]
    assert added[0] == DeclaredColumn("environment", "LowCardinality(String)")
    assert added[2].type == "Nullable(DateTime64(6, 'UTC'))"
    assert added_columns(load("migrations/0002_create_fills")) == []
    assert todays_columns() == first_columns()


def test_a_later_migration_s_columns_are_today_s(tmp_path: Path) -> None:
    with one_more_migration(tmp_path, "0099_alter_fills", LATER):
        assert todays_columns() == [
            *first_columns(),
            DeclaredColumn("strategy", "LowCardinality(String)", "DEFAULT", "'none'"),
            DeclaredColumn("edge", "Nullable(Decimal(9, 6))"),
        ]
    assert todays_columns() == first_columns()


def test_a_table_that_lacks_a_later_column_is_not_today_s(
    warehouse: Warehouse, tables: Tables, tmp_path: Path
) -> None:
    migrate(warehouse, tables, NOW, dry_run=False)
    require_today(warehouse, tables)
    with one_more_migration(tmp_path, "0099_alter_fills", LATER):
        with pytest.raises(SchemaError, match="the column strategy is missing"):
            require_today(warehouse, tables)
        assert schema_of(warehouse, tables).problems == [
            "the column strategy is missing",
            "the column edge is missing",
        ]
        warehouse.command(tables.sql("migrations/0099_alter_fills"))
        require_today(warehouse, tables)
        assert schema_of(warehouse, tables).problems == []
