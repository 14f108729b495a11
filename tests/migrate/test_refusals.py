"""What is refused, which privileges are missing, and what a dry run shows."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator

import pytest
from support.clickhouse_server import ClickHouseServer
from support.commandline import Done, ServerWithUsers, Target
from support.legacy import (
    LEGACY,
    Users,
    legacy_row,
    make,
    snapshot,
)
from support.migrating import NOW, assert_today, fills, generate, make_today, migrate

from kalshi_fills.errors import SchemaError, WarehouseError
from kalshi_fills.migrate.run import DONE, NOTHING, PLANNED
from kalshi_fills.warehouse.client import Row, Warehouse
from kalshi_fills.warehouse.ownership import NEXT
from kalshi_fills.warehouse.server import open_server
from kalshi_fills.warehouse.statements import Tables

_serial = itertools.count(1)


FOREIGN = {
    "other columns": "CREATE TABLE {name} (a Int8, ts DateTime) ENGINE = MergeTree ORDER BY a",
    "a view": "CREATE VIEW {name} AS SELECT now() AS ts, '' AS market_ticker, "
    "'' AS exchange_order_id, '' AS raw_json",
    "a log table": "CREATE TABLE {name} (ts DateTime64(3), market_ticker String, "
    "exchange_order_id String) ENGINE = Log",
}


# Refusals


@pytest.mark.sampled(6)
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


# What the user may do


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
    generate(target, garbage=1_000, good=0)
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
    generate(target, garbage=1_000, good=0)

    done = cli("migrate", "--dry-run", url=target.url, env={"COLUMNS": "250"})

    assert done.code == 0
    (line,) = [line for line in done.out.splitlines() if line.strip().startswith("carry over")]
    assert "1,000" in line
    assert re.search(r"\d (bytes|kB|MB)", line)
    assert "planned" in line
    assert "Nothing was written" in done.out
