"""A column that a later numbered migration adds, with no other change of the code.

The tool of tomorrow is today's with one more file, `0099_add_venue_note.sql`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from support.commandline import ROOT, Done, Target, run_statement
from support.faulty import assert_failed

from kalshi_fills.practice.account import generate_account
from kalshi_fills.practice.exchange import PracticeExchange
from kalshi_fills.warehouse.declared import (
    SUFFIX_OF,
    added_columns,
    numbered_migrations,
    subject_of,
)
from kalshi_fills.warehouse.statements import Statement

Cli = Callable[..., Done]
Serve = Callable[..., PracticeExchange]

DAY = timedelta(days=1)
FILLS = 20

ADDED = """\
-- title: what the venue notes with a fill
-- why: an example of a column that comes later
ALTER TABLE `mm_fills` /* ON CLUSTER */
    ADD COLUMN IF NOT EXISTS `venue_note` LowCardinality(String) DEFAULT 'none' AFTER `fee_dollars`
"""

TABLE = (
    "SELECT uuid, engine_full, sorting_key FROM system.tables "
    "WHERE database = {d:String} AND name = 'mm_fills'"
)

PLACE_OF_COLUMN = (
    "SELECT position - (SELECT position FROM system.columns WHERE database = {d:String} "
    "AND table = {t:String} AND name = 'fee_dollars'), type, default_expression "
    "FROM system.columns WHERE database = {d:String} AND table = {t:String} "
    "AND name = 'venue_note'"
)

ROWS = "SELECT * EXCEPT (venue_note) FROM DB.mm_fills ORDER BY ALL"


@pytest.fixture(scope="session")
def code_of_tomorrow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the tool of tomorrow."""
    code = tmp_path_factory.mktemp("tomorrow")
    for folder in ("kalshi_fills", "queries"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, code / folder, ignore=ignored)
    (code / "queries" / "migrations" / "0099_add_venue_note.sql").write_text(ADDED)
    return code


@pytest.fixture
def tomorrow(cli: Cli, code_of_tomorrow: Path) -> Cli:
    """Run a command of the tool of tomorrow as a process."""
    variables = {"PYTHONPATH": str(code_of_tomorrow)}
    return lambda *words, **options: cli(*words, env=variables, **options)


@pytest.fixture
def exchange(serve: Serve, now: datetime) -> PracticeExchange:
    return serve(generate_account(3, FILLS, start=now - 9 * DAY, end=now - DAY))


def test_one_migrate_adds_the_column_to_a_table_of_0_1_in_place(
    older: Cli, tomorrow: Cli, target: Target, exchange: PracticeExchange
) -> None:
    assert older("migrate", url=target.url).code == 0
    assert older("sync", url=target.url, api=exchange.url).code == 0
    run_statement(
        target,
        "ALTER TABLE DB.mm_fills UPDATE client_order_id = 'link', "
        "decision_id = toUUID('00000000-0000-0000-0000-000000000001') WHERE 1 "
        "SETTINGS mutations_sync = 2",
    )
    table = target.read(TABLE, d=target.database)
    rows = target.read("SELECT * FROM DB.mm_fills ORDER BY ALL")

    error = assert_failed(tomorrow("sync", url=target.url, api=exchange.url), 5)
    assert "the column venue_note is missing" in error
    assert "run `kalshi-fills migrate`" in error
    assert schema_check(tomorrow, target, exchange)["status"] == "fail"
    planned = tomorrow("migrate", "--dry-run", "--format", "json", url=target.url)
    migrated = tomorrow("migrate", "--format", "json", url=target.url)

    assert migrated.code == 0, migrated.err
    acted = [step["name"] for step in migrated.json["steps"] if step["status"] == "done"]
    assert acted == [
        "0006_alter_runs",
        "0007_create_settlements",
        "0008_alter_runs",
        "0099_add_venue_note",
        "0005_create_current_view",
        "0009_create_by_market_view",
        "0010_create_by_day_view",
    ]
    assert acted == [step["name"] for step in planned.json["steps"] if step["status"] == "planned"]
    assert migrated.json["kept"] == []
    assert "venue_note" in migrated.json["columns"]
    assert target.read(TABLE, d=target.database) == table
    assert target.read(ROWS) == rows
    for name in ("mm_fills", "mm_fills_current"):
        ((place, type_, _),) = target.read(PLACE_OF_COLUMN, d=target.database, t=name)
        assert (place, type_) == (1, "LowCardinality(String)"), name
    assert not tomorrow("migrate", "--format", "json", url=target.url).json["changed"]

    synced = tomorrow("sync", "--full", "--format", "json", url=target.url, api=exchange.url)
    assert synced.code == 0, synced.err
    assert (synced.json["stages"]["n_new"], synced.json["stages"]["n_known"]) == (0, FILLS)
    assert target.read(ROWS) == rows
    assert schema_check(tomorrow, target, exchange)["status"] == "pass"


def test_the_tool_without_the_migration_refuses_the_newer_schema(
    cli: Cli, tomorrow: Cli, target: Target, exchange: PracticeExchange
) -> None:
    assert cli("migrate", url=target.url).code == 0
    assert tomorrow("migrate", url=target.url).code == 0
    assert tomorrow("sync", url=target.url, api=exchange.url).code == 0
    rows = target.read("SELECT * FROM DB.mm_fills ORDER BY ALL")

    for words in (("migrate",), ("sync",), ("truncate", "--before", "3d", "--yes")):
        error = assert_failed(cli(*words, url=target.url, api=exchange.url), 5)
        assert "0099_add_venue_note" in error
        assert "upgrade kalshi-fills" in error

    assert target.read("SELECT * FROM DB.mm_fills ORDER BY ALL") == rows


def test_values_in_the_column_survive_corrections_and_removals(
    tomorrow: Cli, target: Target, exchange: PracticeExchange
) -> None:
    tomorrow("migrate", url=target.url)
    assert tomorrow("sync", url=target.url, api=exchange.url).code == 0
    run_statement(
        target,
        "ALTER TABLE DB.mm_fills UPDATE venue_note = fill_id, size = size + 1 "
        "WHERE 1 SETTINGS mutations_sync = 2",
    )

    corrected = tomorrow("sync", "--full", "--format", "json", url=target.url, api=exchange.url)
    removed = tomorrow("truncate", "--before", "4d", "--yes", "--format", "json", url=target.url)

    assert corrected.json["stages"]["n_corrected"] == FILLS
    assert 0 < removed.json["rows_removed"] < FILLS
    kept = "SELECT count(), countIf(venue_note = fill_id) FROM DB.{} FINAL"
    ((left, with_note),) = target.read(kept.format("mm_fills"))
    ((gone, gone_with_note),) = target.read(kept.format(removed.json["backup"]))
    assert (left, gone) == (with_note, gone_with_note)
    assert left + gone == FILLS


def test_a_rebuild_makes_the_column_and_carries_its_values_over(
    tomorrow: Cli, target: Target, exchange: PracticeExchange
) -> None:
    tomorrow("migrate", url=target.url)
    assert tomorrow("sync", url=target.url, api=exchange.url).code == 0
    for statement in (
        "CREATE TABLE DB.old AS DB.mm_fills ENGINE = MergeTree PARTITION BY toYYYYMM(ts) "
        "ORDER BY ts",
        "INSERT INTO DB.old SELECT * REPLACE (fill_id AS venue_note) FROM DB.mm_fills",
        "EXCHANGE TABLES DB.old AND DB.mm_fills",
    ):
        run_statement(target, statement)

    migrated = tomorrow("migrate", "--format", "json", url=target.url)

    assert migrated.code == 0, migrated.err
    assert len(migrated.json["kept"]) == 1
    assert not tomorrow("migrate", "--format", "json", url=target.url).json["changed"]
    assert target.read("SELECT count() FROM DB.mm_fills FINAL WHERE venue_note = fill_id") == [
        (FILLS,)
    ]
    ((place, _, default),) = target.read(PLACE_OF_COLUMN, d=target.database, t="mm_fills")
    assert (place, default) == (1, "'none'")


def schema_check(cli: Cli, target: Target, exchange: PracticeExchange) -> dict[str, object]:
    looked = cli("diagnose", "--format", "json", url=target.url, api=exchange.url)
    (check,) = [one for one in looked.json["checks"] if one["name"] == "schema_migrated"]
    found: dict[str, object] = check
    return found


def test_a_migration_says_itself_which_table_it_is_about() -> None:
    assert [SUFFIX_OF[number] for number, _ in numbered_migrations()][:8] == [
        "_migrations",
        "",
        "_rejected",
        "_runs",
        "_current",
        "_runs",
        "_settlements",
        "_runs",
    ]
    added = Statement("migrations/0099_add_venue_note", ADDED)
    assert subject_of(added) == ""
    ((column, after),) = added_columns(added)
    assert tuple(column) == ("venue_note", "LowCardinality(String)", "DEFAULT", "'none'")
    assert after == "fee_dollars"
    with pytest.raises(ValueError, match="neither creates nor alters"):
        subject_of(Statement("migrations/0100", "DROP TABLE `mm_fills`"))


def test_added_columns_are_read_however_they_are_declared() -> None:
    text = """ALTER TABLE `mm_fills`
    ADD COLUMN IF NOT EXISTS `a` Nullable(DateTime64(6, 'UTC')) COMMENT 'x, y' CODEC(ZSTD(3)),
    ADD COLUMN IF NOT EXISTS `b` Decimal(9, 4) DEFAULT toDecimal32(0, 4) AFTER `ts`,
    ADD COLUMN IF NOT EXISTS `c` UInt8
"""
    found = added_columns(Statement("migrations/0099", text))
    assert [(tuple(column), after) for column, after in found] == [
        (("a", "Nullable(DateTime64(6, 'UTC'))", "", ""), ""),
        (("b", "Decimal(9, 4)", "DEFAULT", "toDecimal32(0, 4)"), "ts"),
        (("c", "UInt8", "", ""), ""),
    ]
