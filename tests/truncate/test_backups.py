"""Backups are listed and kept; what cannot be done safely is refused."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from support.clickhouse_server import ClickHouseServer
from support.commandline import ServerWithUsers, Target
from support.legacy import (
    LEGACY,
    Users,
    content,
    legacy_row,
    make,
    snapshot,
)
from support.truncating import (
    DAY,
    EVERYTHING,
    GARBAGE,
    HOUR,
    MODES,
    NOW,
    TRADED,
    Cli,
    Meddled,
    Serve,
    ids,
    insert,
    leftovers,
    migrated,
    mixed,
    row,
    serial,
    synced_until,
    truncate,
    watermark,
)

from kalshi_fills.errors import SchemaError, SettingsError, WarehouseError
from kalshi_fills.migrate.run import migrate
from kalshi_fills.practice.account import generate_account
from kalshi_fills.truncate.backups import backups
from kalshi_fills.truncate.plan import TruncateRequest
from kalshi_fills.warehouse.client import Value, Warehouse
from kalshi_fills.warehouse.grants import TO_EMPTY, TO_EXCHANGE
from kalshi_fills.warehouse.server import open_server
from kalshi_fills.warehouse.statements import Tables

# The backups


def test_backups_are_listed_and_none_is_dropped(
    target: Target, cli: Cli, serve: Serve, now: datetime
) -> None:
    account = generate_account(9, 20, start=now - 9 * DAY, end=now - HOUR)
    exchange = serve(account)
    target.read(f"CREATE DATABASE {target.database}")
    listed = ", ".join(f"{name} {kind}" for name, kind in LEGACY.items())
    target.read(f"CREATE TABLE DB.mm_fills ({listed}) ENGINE = MergeTree ORDER BY ts")
    cli("migrate", url=target.url)
    none = cli("truncate", "--list-backups", url=target.url)
    assert (none.code, "no backups" in none.out) == (0, True)
    names = []
    for _ in range(2):
        time.sleep(1)  # a backup is named by the second
        cli("sync", url=target.url, api=exchange.url)
        names.append(cli("truncate", "--yes", "--format", "json", url=target.url).json["backup"])

    shown = cli("truncate", "--list-backups", url=target.url, env={"COLUMNS": "80"})
    told = cli("truncate", "--list-backups", "--format", "json", url=target.url).json

    assert [backup["name"] for backup in told["backups"]] == names
    assert told["rows_before"] == told["rows_left"] == 0
    assert (told["rows_removed"], told["backup"]) == (0, None)
    assert len(told["kept_aside"]) == 1
    for backup in told["backups"]:
        assert backup["rows"] == 20
        assert backup["bytes"] > 0
        stamp = backup["name"].removeprefix("mm_fills_backup_")
        assert datetime.fromisoformat(backup["created"]) == datetime.strptime(
            stamp, "%Y%m%dT%H%M%SZ"
        ).replace(tzinfo=UTC)
        assert backup["name"] in shown.out
        assert backup["drop"] in shown.out
    assert "migrate keeps aside, besides: 1" in shown.out
    assert max(len(line) for line in shown.out.splitlines() if "DROP" not in line) <= 80
    target.read(told["backups"][0]["drop"])
    left = cli("truncate", "--list-backups", "--format", "json", url=target.url).json
    assert [backup["name"] for backup in left["backups"]] == names[1:]


def test_backups_of_another_table_are_not_listed(warehouse: Warehouse, tables: Tables) -> None:
    migrated(warehouse, tables, row("f1"))
    other = Tables(tables.database, "mm_fills_backup")
    migrated(warehouse, other, row("f1"))
    gone = truncate(warehouse, other)
    for name in ("_backup_x", "_backup_20261301T000000Z", "_backup_20261101T000000Z_mine"):
        warehouse.command(f"CREATE TABLE {tables.name(name)} AS {tables.name()}")

    assert backups(warehouse, tables) == []
    assert [backup.name for backup in backups(warehouse, other)] == [gone.backup]
    with pytest.raises(SettingsError, match="there is none"):
        truncate(warehouse, tables, TruncateRequest(restore=gone.backup))


def test_a_table_with_an_odd_name_is_truncated_and_restored(
    warehouse: Warehouse, tables: Tables
) -> None:
    odd = Tables(tables.database, "my `odd` fills' \\")
    migrated(warehouse, odd, *mixed())

    for request in (GARBAGE, TruncateRequest(before=TRADED + HOUR), EVERYTHING):
        done = truncate(warehouse, odd, request)
    back = truncate(warehouse, odd, TruncateRequest(restore=done.backup))

    assert back.rows_restored == done.rows_removed > 0


def _empty_database(warehouse: Warehouse, tables: Tables) -> None:
    warehouse.command(f"CREATE DATABASE {tables.database}")


def _foreign(warehouse: Warehouse, tables: Tables) -> None:
    make(warehouse, tables, {"ts": "DateTime64(3)", "market_ticker": "String"}, engine="Memory")


def _legacy(warehouse: Warehouse, tables: Tables) -> None:
    make(warehouse, tables, rows=[legacy_row(1)])


def _today(warehouse: Warehouse, tables: Tables) -> None:
    migrated(warehouse, tables, row("f1"), row("junk", size=Decimal(0)))
    synced_until(warehouse, tables, NOW)


def _unfinished_migration(warehouse: Warehouse, tables: Tables) -> None:
    _today(warehouse, tables)
    warehouse.command(f"CREATE TABLE {tables.name('__next')} AS {tables.name()}")


def _backup_of_that_name(warehouse: Warehouse, tables: Tables) -> None:
    _today(warehouse, tables)
    name = tables.name(f"_backup_{NOW:%Y%m%dT%H%M%SZ}")
    warehouse.command(f"CREATE TABLE {name} AS {tables.name()}")
    warehouse.command(f"INSERT INTO {name} SELECT * FROM {tables.name()}")


BACKUP = "mm_fills_backup_20261101T000000Z"


def _backup_beside_rows(warehouse: Warehouse, tables: Tables) -> None:
    _today(warehouse, tables)
    name = tables.name(BACKUP.removeprefix("mm_fills"))
    warehouse.command(f"CREATE TABLE {name} AS {tables.name()}")
    warehouse.command(f"INSERT INTO {name} SELECT * FROM {tables.name()}")


def _backup_of_a_legacy_table(warehouse: Warehouse, tables: Tables) -> None:
    make(
        warehouse,
        tables,
        rows=[legacy_row(1)],
        suffix=BACKUP.removeprefix("mm_fills"),
    )
    migrate(warehouse, tables, NOW)


RESTORE = TruncateRequest(restore=BACKUP)


BEFORE = TruncateRequest(before=NOW)


REFUSALS: dict[str, tuple[Callable[[Warehouse, Tables], None], list[TruncateRequest], str, str]] = {
    "no table": (_empty_database, [EVERYTHING, GARBAGE, RESTORE], "does not exist", "migrate"),
    "no table of fills": (_foreign, [EVERYTHING, GARBAGE, BEFORE], "not a table of", "--table"),
    "garbage of a legacy table": (_legacy, [GARBAGE], "not of today", "carries the valid fills"),
    "part of a legacy table": (_legacy, [BEFORE], "does not exist|not of today", "migrate"),
    "an unfinished migration": (
        _unfinished_migration,
        [EVERYTHING, GARBAGE, BEFORE],
        "was not finished",
        "migrate",
    ),
    "a backup of that name": (
        _backup_of_that_name,
        [EVERYTHING, GARBAGE, BEFORE],
        "already exists",
        "run it again",
    ),
    "a restore into a table with rows": (
        _backup_beside_rows,
        [RESTORE],
        "has 2 rows",
        "INSERT INTO .* SELECT",
    ),
    "a restore of what is not there": (
        _backup_beside_rows,
        [TruncateRequest(restore="mm_fills_runs"), TruncateRequest(restore="x`; DROP TABLE y")],
        f"is not a backup of .*: {BACKUP}",
        "--list-backups",
    ),
    "a restore of an older schema": (
        _backup_of_a_legacy_table,
        [RESTORE],
        "another schema",
        "EXCHANGE TABLES .* migrate",
    ),
}


# Refusals


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    ("start", "requests", "error", "hint"), REFUSALS.values(), ids=REFUSALS.keys()
)
def test_a_refusal_changes_nothing(
    warehouse: Warehouse,
    tables: Tables,
    start: Callable[[Warehouse, Tables], None],
    requests: list[TruncateRequest],
    error: str,
    hint: str,
) -> None:
    start(warehouse, tables)
    before = snapshot(warehouse.rows, tables.database)
    for request in requests:
        with pytest.raises((SchemaError, SettingsError), match=error) as caught:
            truncate(warehouse, tables, request, NOW)

        assert re.search(hint, caught.value.hint), caught.value.hint
        assert snapshot(warehouse.rows, tables.database) == before


def test_the_statements_of_the_hints_do_what_they_say(warehouse: Warehouse, tables: Tables) -> None:
    _backup_beside_rows(warehouse, tables)
    with pytest.raises(SettingsError) as both:
        truncate(warehouse, tables, RESTORE)
    insert(warehouse, tables, [row("f2")])
    warehouse.command(both.value.hint.partition("versions decide: ")[2])
    assert ids(warehouse, tables) == ["f1", "f2", "junk"]

    warehouse.command(f"DROP DATABASE {tables.database} SYNC")
    _backup_of_a_legacy_table(warehouse, tables)
    with pytest.raises(SettingsError) as older:
        truncate(warehouse, tables, RESTORE)
    warehouse.command(older.value.hint.removeprefix("run ").partition(" and then")[0])
    migrate(warehouse, tables, NOW)
    assert ids(warehouse, tables) == ["f1"]


@pytest.mark.server
def test_a_database_that_cannot_exchange_is_refused(server: ClickHouseServer) -> None:
    warehouse = open_server(server.url("default") + "?allow_deprecated_database_ordinary=1")
    tables = Tables(f"ordinary_t_{os.getpid()}")
    try:
        warehouse.command(f"CREATE DATABASE {tables.database} ENGINE = Ordinary")
        migrated(warehouse, tables, row("f1"))
        for request in (EVERYTHING, BEFORE):
            with pytest.raises(SchemaError, match="cannot be exchanged"):
                truncate(warehouse, tables, request)
        truncate(warehouse, tables, TruncateRequest(keep=False))
        assert ids(warehouse, tables) == []
    finally:
        warehouse.command(f"DROP DATABASE IF EXISTS {tables.database} SYNC")
        warehouse.close()


@pytest.fixture
def users(server_with_users: ServerWithUsers) -> Iterator[Users]:
    made = Users(server_with_users, Tables(f"users_{os.getpid()}_t{next(serial)}"))
    yield made
    made.admin.command(f"DROP DATABASE IF EXISTS {made.tables.database}")
    made.close()


@pytest.mark.server
@pytest.mark.parametrize("keep", [True, False], ids=["with a backup", "without"])
def test_a_missing_privilege_is_told_before_anything_is_done(
    users: Users, cli: Cli, keep: bool
) -> None:
    _today(users.admin, users.tables)
    before = snapshot(users.admin.rows, users.tables.database)
    needed = TO_EXCHANGE if keep else TO_EMPTY
    for missing in needed[1:]:
        given = ", ".join(name for name in needed if name != missing)
        name = missing.replace(" ", "_").lower()
        url = users.url(f"no_{name}", f"GRANT {given} ON DB.* TO USER")
        words = ("--yes",) if keep else ("--yes", "--no-backup")

        done = cli("truncate", *words, "--format", "json", url=url)

        assert done.code == 5
        assert missing in done.json["error"]
        assert f"GRANT {missing} ON" in done.json["hint"]
        assert snapshot(users.admin.rows, users.tables.database) == before
    url = users.url("looker", "GRANT ALL ON DB.* TO USER", settings="SETTINGS readonly = 2")
    done = cli("truncate", "--yes", "--format", "json", url=url)
    assert (done.code, "may only read" in done.json["error"]) == (5, True)
    assert snapshot(users.admin.rows, users.tables.database) == before


@pytest.mark.server
@pytest.mark.parametrize("request_", MODES.values(), ids=MODES.keys())
def test_the_privileges_that_are_asked_for_are_enough(
    users: Users, request_: TruncateRequest
) -> None:
    migrated(users.admin, users.tables, *mixed())
    seeing = "GRANT SELECT ON system.processes TO USER"
    url = users.url("just", f"GRANT {', '.join(TO_EXCHANGE)} ON DB.* TO USER", seeing)

    done = truncate(users.open(url), users.tables, request_)

    assert done.rows_removed > 0
    assert leftovers(users.admin, users.tables) == set()


@pytest.mark.server
def test_the_server_s_guard_against_dropping_is_told_as_what_it_is(tmp_path: Path) -> None:
    binary = os.environ.get("CLICKHOUSE_BINARY")
    if not binary:
        pytest.skip("no ClickHouse server to test against: CLICKHOUSE_BINARY is not set")
    guard = "<max_table_size_to_drop>1000</max_table_size_to_drop>"
    server = ClickHouseServer(binary, tmp_path / "server", guard)
    server.start()
    try:
        warehouse, tables = open_server(server.url("default")), Tables("guarded")
        migrated(warehouse, tables)
        insert(warehouse, tables, [row(f"f{number}", raw_json="x" * 99) for number in range(999)])
        insert(warehouse, tables, [row("new", ts=NOW - HOUR)])
        synced_until(warehouse, tables, NOW)

        with pytest.raises(WarehouseError, match="max_table_size_to_drop") as caught:
            truncate(warehouse, tables, TruncateRequest(keep=False))

        assert "--no-backup" in caught.value.hint
        assert len(ids(warehouse, tables)) == 1000
        assert watermark(warehouse, tables) == NOW

        kept = truncate(warehouse, tables, TruncateRequest(before=NOW - DAY, keep=False))
        assert kept.backup_holds_all_rows
        assert kept.backup is not None
        assert len(ids(warehouse, tables, kept.backup)) == 1000
        assert (kept.rows_removed, ids(warehouse, tables)) == (999, ["new"])

        insert(warehouse, tables, [row(f"f{number}", raw_json="x" * 99) for number in range(999)])
        part = truncate(warehouse, tables, TruncateRequest(before=NOW - DAY))
        assert part.backup is not None
        assert len(ids(warehouse, tables, part.backup)) == 999
        assert leftovers(warehouse, tables) == set()
        assert truncate(warehouse, tables).rows_removed == 1
        warehouse.close()
    finally:
        server.stop()


def test_where_clickhouse_refuses_the_exchange_all_is_as_it_was(
    warehouse: Warehouse, tables: Tables
) -> None:
    _today(warehouse, tables)
    before = content(warehouse, tables.name())

    class Refusing(Meddled):
        def command(self, sql: str, params: Mapping[str, Value] | None = None) -> None:
            if "EXCHANGE" in sql:
                raise WarehouseError("renameat2 is not supported", hint="", code=48)
            super().command(sql, params)

    for request in (EVERYTHING, GARBAGE, BEFORE):
        with pytest.raises(WarehouseError, match="renameat2"):
            truncate(Refusing(warehouse, lambda _: None), tables, request)
        assert content(warehouse, tables.name()) == before
        assert watermark(warehouse, tables) == NOW
        assert leftovers(warehouse, tables) == set()
        assert backups(warehouse, tables) == []
