"""What bears one of our names and is not ours: left alone, and told before anything is done."""

from __future__ import annotations

import itertools
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from support.legacy import legacy_row, make, names_there, snapshot

from kalshi_fills.errors import SchemaError, SettingsError
from kalshi_fills.migrate.run import MigrationReport
from kalshi_fills.migrate.run import migrate as bring_to_today
from kalshi_fills.truncate.backups import backups
from kalshi_fills.truncate.place import place_of
from kalshi_fills.truncate.plan import TruncateRequest, TruncationReport
from kalshi_fills.truncate.run import truncate as remove_rows
from kalshi_fills.warehouse.client import Warehouse
from kalshi_fills.warehouse.declared import OUR_TABLES
from kalshi_fills.warehouse.ownership import SUMMARIES, VIEWS, Source, Table, source_of
from kalshi_fills.warehouse.schema import require_today, schema_of
from kalshi_fills.warehouse.statements import Tables, quote_identifier

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
_seconds = itertools.count()
OLD_BACKUP = "_backup_20260101T000000Z"
VIEWS_MADE = [
    "0005_create_current_view",
    "0009_create_by_market_view",
    "0010_create_by_day_view",
]
PLAIN = "TABLE {name} (a Int32) ENGINE = MergeTree ORDER BY a"
CLAIMING = PLAIN + " COMMENT 'their own, not kalshi-fills: fills'"
VIEW = "VIEW {name} AS SELECT 1 AS a"
OTHERS_VIEW = "VIEW {name} AS SELECT * FROM {other} FINAL"
NARROW = "VIEW {name} AS SELECT ts, size FROM {fills} FINAL"
MATERIALIZED = "MATERIALIZED VIEW {name} ENGINE = MergeTree ORDER BY a AS SELECT a FROM {other}"
DICTIONARY = (
    "DICTIONARY {name} (a UInt64, b String) PRIMARY KEY a SOURCE(NULL()) LAYOUT(FLAT()) "
    "LIFETIME(0) COMMENT 'kalshi-fills: sync runs'"
)


def migrate(warehouse: Warehouse, tables: Tables, *, dry_run: bool = False) -> MigrationReport:
    return bring_to_today(warehouse, tables, NOW, dry_run=dry_run)


def truncate(warehouse: Warehouse, tables: Tables, **asked: object) -> TruncationReport:
    request = TruncateRequest(**asked)
    now = NOW + timedelta(seconds=next(_seconds))
    return remove_rows(place_of(warehouse, tables, uuid.uuid4(), now), request)


def plant(warehouse: Warehouse, tables: Tables, suffix: str, statement: str) -> None:
    """Make something of somebody else's under one of our names."""
    warehouse.command(f"CREATE DATABASE IF NOT EXISTS {tables.database}")
    other = f"{tables.database}.`of others`"
    warehouse.command(
        f"CREATE TABLE IF NOT EXISTS {other} (a Int32, version UInt8) "
        "ENGINE = ReplacingMergeTree(version) ORDER BY a"
    )
    places = {"name": tables.name(suffix), "other": other, "fills": tables.name()}
    warehouse.command(f"CREATE {statement.format(**places)}")


def fill_one(warehouse: Warehouse, tables: Tables, cents: int = 41, name: str = "f") -> None:
    warehouse.command(
        f"INSERT INTO {tables.name()} (ts, fill_id, exchange_order_id, market_ticker, side, "
        f"price_cents, size) VALUES ('2026-06-01', '{name}', 'o', 't', 'yes', {cents}, 1)"
    )


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    ("suffix", "statement"),
    [
        ("_current", PLAIN),
        ("_current", VIEW),
        ("_current", OTHERS_VIEW),
        ("_current", MATERIALIZED),
        ("_current", DICTIONARY),
        ("_by_market", PLAIN),
        ("_by_day", VIEW),
        ("_by_day", MATERIALIZED),
        ("_rejected", PLAIN),
        ("_rejected", VIEW),
        ("_runs", PLAIN),
        ("_runs", CLAIMING),
        ("_runs", MATERIALIZED),
        ("_runs", DICTIONARY),
        ("_settlements", PLAIN),
        ("_migrations", PLAIN),
        ("_migrations", VIEW),
        ("__next", PLAIN),
        ("__next", VIEW),
    ],
)
@pytest.mark.parametrize("before", ["nothing", "a legacy table"])
def test_migrate_refuses_what_is_not_ours_and_touches_nothing(
    warehouse: Warehouse, tables: Tables, suffix: str, statement: str, before: str
) -> None:
    if before == "a legacy table":
        make(warehouse, tables, rows=[legacy_row(1)])
    plant(warehouse, tables, suffix, statement)
    there = snapshot(warehouse.rows, tables.database)

    for dry_run in (True, False):
        with pytest.raises(SchemaError, match=f"mm_fills{suffix}") as found:
            migrate(warehouse, tables, dry_run=dry_run)
        assert "rename it" in found.value.hint
        assert "--table" in found.value.hint

    assert snapshot(warehouse.rows, tables.database) == there


def test_a_view_of_the_operator_s_own_on_the_fills_is_not_replaced(
    warehouse: Warehouse, tables: Tables
) -> None:
    migrate(warehouse, tables)
    warehouse.command(f"DROP VIEW {tables.name('_current')}")
    plant(warehouse, tables, "_current", NARROW)

    with pytest.raises(SchemaError, match="mm_fills_current"):
        migrate(warehouse, tables)

    require_today(warehouse, tables)  # a sync does not need the view


@pytest.mark.parametrize("suffix", ["_rejected", "_runs", "_settlements", "_migrations"])
def test_a_sync_and_a_diagnosis_find_a_foreign_table_before_they_need_it(
    warehouse: Warehouse, tables: Tables, suffix: str
) -> None:
    migrate(warehouse, tables)
    warehouse.command(f"DROP TABLE {tables.name(suffix)} SYNC")
    plant(warehouse, tables, suffix, PLAIN)

    with pytest.raises(SchemaError, match=f"mm_fills{suffix} bears a name of ours"):
        require_today(warehouse, tables)

    schema = schema_of(warehouse, tables)
    assert schema.others_missing == [f"mm_fills{suffix}"]
    assert any(f"mm_fills{suffix} is not ours" in problem for problem in schema.problems)
    if suffix == "_runs":
        fill_one(warehouse, tables)
        with pytest.raises(SchemaError, match="mm_fills_runs"):
            truncate(warehouse, tables)
        assert warehouse.rows(f"SELECT count() FROM {tables.name()}") == [(1,)]


def test_a_migration_that_was_half_done_is_known_as_ours(
    warehouse: Warehouse, tables: Tables
) -> None:
    """A table of ours keeps its mark when it is copied, renamed or rebuilt."""
    migrate(warehouse, tables)
    fill_one(warehouse, tables)
    copied = Tables(tables.database, "copied")
    for suffix in ("", "_rejected", "_runs", "_settlements", "_migrations"):
        warehouse.command(f"CREATE TABLE {copied.name(suffix)} AS {tables.name(suffix)}")
        warehouse.command(f"INSERT INTO {copied.name(suffix)} SELECT * FROM {tables.name(suffix)}")
    warehouse.command(
        f"CREATE VIEW {copied.name('_current')} AS SELECT * FROM {tables.name()} FINAL"
    )

    done = migrate(warehouse, copied)

    changed = [step.name for step in done.steps if step.status == "done"]
    assert changed == VIEWS_MADE
    assert warehouse.rows(f"SELECT fill_id FROM {copied.name('_current')}") == [("f",)]


@pytest.mark.parametrize("name", ["mm_fills", "my `odd` \\ fills", "Füllungen 成交"])
def test_a_view_that_reads_the_table_of_before_is_stale(
    warehouse: Warehouse, tables: Tables, name: str
) -> None:
    tables = Tables(tables.database, name)
    migrate(warehouse, tables)
    fill_one(warehouse, tables)
    renamed = Tables(tables.database, "renamed")
    for suffix in ("", *OUR_TABLES, *VIEWS):
        warehouse.command(f"RENAME TABLE {tables.name(suffix)} TO {renamed.name(suffix)}")
    migrate(warehouse, tables)
    fill_one(warehouse, tables, name="of another account")
    read = f"SELECT fill_id FROM {renamed.name('_current')}"
    assert warehouse.rows(read) == [("of another account",)]

    with pytest.raises(SchemaError, match="the view renamed_current reads"):
        require_today(warehouse, renamed)
    assert any("the view" in problem for problem in schema_of(warehouse, renamed).problems)
    done = migrate(warehouse, renamed)

    assert [step.name for step in done.steps if step.status == "done"] == VIEWS_MADE
    assert warehouse.rows(read) == [("f",)]
    for suffix in SUMMARIES:
        assert warehouse.rows(f"SELECT sum(fills) FROM {renamed.name(suffix)}") == [(1,)]
    require_today(warehouse, renamed)
    assert not migrate(warehouse, renamed).changed
    assert not migrate(warehouse, tables).changed


@pytest.mark.server
def test_a_renamed_database_s_view_reads_its_own_table(server, cli) -> None:
    before, after = f"before_{uuid.uuid4().hex}", f"after_{uuid.uuid4().hex}"
    from kalshi_fills.warehouse.server import open_server

    warehouse = open_server(server.url("default"))
    migrate(warehouse, Tables(before))
    fill_one(warehouse, Tables(before))
    warehouse.command(f"RENAME DATABASE {before} TO {after}")

    assert cli("diagnose", "--offline", url=server.url(after)).code == 3
    assert migrate(warehouse, Tables(after)).changed
    assert warehouse.rows(f"SELECT fill_id FROM {after}.mm_fills_current") == [("f",)]
    warehouse.command(f"DROP DATABASE {after}")
    warehouse.close()


@pytest.mark.parametrize(
    "name", ["plain", "with space", "back`tick", "back\\slash", "new\nline", "quo'te", "成交", "1x"]
)
def test_the_source_of_a_view_is_read_whatever_its_name(
    warehouse: Warehouse, tables: Tables, name: str
) -> None:
    migrate(warehouse, tables)
    warehouse.command(f"CREATE TABLE {tables.database}.{quote_identifier(name)} AS {tables.name()}")
    warehouse.command(
        f"CREATE VIEW {tables.name('_v')} AS "
        f"SELECT * FROM {tables.database}.{quote_identifier(name)} FINAL"
    )
    found = warehouse.rows(
        tables.sql("schema/tables"), {"database": tables.database, "prefix": "mm_fills_v"}
    )

    assert source_of(Table(*found[0])) == Source(tables.database, name)


@pytest.mark.sampled(7)
@pytest.mark.parametrize(
    "statement",
    [PLAIN, CLAIMING, VIEW, MATERIALIZED, DICTIONARY, "VIEW {name} AS SELECT * FROM {fills}"],
)
def test_truncate_leaves_alone_what_bears_a_backup_s_name(
    warehouse: Warehouse, tables: Tables, statement: str
) -> None:
    migrate(warehouse, tables)
    fill_one(warehouse, tables)
    fill_one(warehouse, tables, cents=0, name="garbage")
    plant(warehouse, tables, OLD_BACKUP, statement)

    assert backups(warehouse, tables) == []
    with pytest.raises(SettingsError, match="is not a backup"):
        truncate(warehouse, tables, restore="mm_fills" + OLD_BACKUP)
    sifted = truncate(warehouse, tables, garbage=True)

    assert (sifted.rows_removed, sifted.unfinished) == (1, [])
    assert "mm_fills" + OLD_BACKUP in names_there(warehouse, tables)
    migrate(warehouse, tables)
    assert "mm_fills" + OLD_BACKUP in names_there(warehouse, tables)


def test_an_unreadable_thing_under_a_backup_s_name_ends_no_truncate(
    warehouse: Warehouse, tables: Tables
) -> None:
    migrate(warehouse, tables)
    fill_one(warehouse, tables)
    plant(warehouse, tables, "_source", PLAIN)
    plant(
        warehouse,
        tables,
        OLD_BACKUP,
        f"VIEW {{name}} AS SELECT a FROM {tables.name('_source')}",
    )
    warehouse.command(f"DROP TABLE {tables.name('_source')} SYNC")

    assert truncate(warehouse, tables).rows_removed == 1
    assert "mm_fills" + OLD_BACKUP in names_there(warehouse, tables)


def test_backups_made_before_tables_bore_a_mark_are_listed_and_restored(
    warehouse: Warehouse, tables: Tables
) -> None:
    make(warehouse, tables, rows=[legacy_row(1), legacy_row(2)], suffix=OLD_BACKUP)
    make(warehouse, tables)

    (found,) = backups(warehouse, tables)
    done = truncate(warehouse, tables, restore=found.name)

    assert (found.rows, found.is_marked) == (2, False)
    assert done.rows_restored == 2
    assert warehouse.rows(f"SELECT count() FROM {tables.name()}") == [(2,)]


def test_an_empty_table_like_an_older_one_is_not_dropped(
    warehouse: Warehouse, tables: Tables
) -> None:
    make(warehouse, tables, rows=[legacy_row(1)])
    make(warehouse, tables, suffix=OLD_BACKUP)

    done = truncate(warehouse, tables)

    assert done.unfinished == []
    assert "mm_fills" + OLD_BACKUP in names_there(warehouse, tables)


@pytest.mark.parametrize("last", ["verdicts", "removed", "0123456789abcdef"])
def test_a_foreign_table_under_the_name_of_a_removal_s_is_left_alone(
    warehouse: Warehouse, tables: Tables, last: str
) -> None:
    migrate(warehouse, tables)
    fill_one(warehouse, tables)
    suffix = f"__truncate_20260101T000000Z_{last}"
    plant(warehouse, tables, suffix, PLAIN)

    assert truncate(warehouse, tables, garbage=True).unfinished == []
    truncate(warehouse, tables)

    assert "mm_fills" + suffix in names_there(warehouse, tables)


@pytest.mark.parametrize("engine", ["Merge", "Memory"])
def test_a_fills_table_that_stores_nothing_itself_is_refused(
    warehouse: Warehouse, tables: Tables, engine: str
) -> None:
    migrate(warehouse, Tables(tables.database, "source"))
    how = {"Merge": f"Merge('{tables.database}', '^source$')", "Memory": "Memory"}[engine]
    columns = "(ts DateTime, market_ticker String, exchange_order_id String)"
    warehouse.command(f"CREATE TABLE {tables.name()} {columns} ENGINE = {how}")

    with pytest.raises(SchemaError, match=f"its engine is {engine}"):
        migrate(warehouse, tables)
    with pytest.raises(SchemaError, match="is not a table of fills"):
        truncate(warehouse, tables)


def test_a_materialized_view_of_the_operator_goes_on_after_every_exchange(
    warehouse: Warehouse, tables: Tables
) -> None:
    make(warehouse, tables, rows=[legacy_row(1)])
    warehouse.command(
        f"CREATE TABLE {tables.database}.copies (order String) ENGINE = MergeTree ORDER BY order"
    )
    warehouse.command(
        f"CREATE MATERIALIZED VIEW {tables.database}.trigger TO {tables.database}.copies AS "
        f"SELECT exchange_order_id || market_ticker AS order FROM {tables.name()}"
    )
    migrate(warehouse, tables)
    warehouse.command(f"TRUNCATE TABLE {tables.database}.copies")
    fill_one(warehouse, tables, cents=0, name="garbage")
    truncate(warehouse, tables, garbage=True)
    fill_one(warehouse, tables, name="after")
    back = truncate(warehouse, tables)
    fill_one(warehouse, tables, name="more")

    copies = f"SELECT count() FROM {tables.database}.copies"
    assert warehouse.rows(copies) == [(3,)]
    assert back.rows_removed == 2
