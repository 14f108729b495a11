"""While others write, and after a kill at any statement."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from support.clickhouse_server import ClickHouseServer
from support.legacy import (
    content,
    legacy_row,
    names_there,
)
from support.truncating import (
    EVERYTHING,
    GARBAGE,
    HOUR,
    MODES,
    NOW,
    TRADED,
    Meddled,
    by_engine,
    ids,
    insert,
    leftovers,
    migrated,
    mixed,
    row,
    synced_until,
    truncate,
    watermark,
)

from kalshi_fills.errors import SettingsError, WarehouseError
from kalshi_fills.truncate.backups import backups
from kalshi_fills.truncate.plan import TruncateRequest
from kalshi_fills.warehouse.client import Warehouse
from kalshi_fills.warehouse.schema import require_today
from kalshi_fills.warehouse.server import open_server
from kalshi_fills.warehouse.statements import Tables

JUDGES = "note of each row whether it goes"
"""In the title of the statements that judge the rows."""


def _everywhere(warehouse: Warehouse, tables: Tables, what: str = "client_order_id") -> list[Any]:
    """Return a column of all rows, of the table and of its backups."""
    names = [tables.fills, *(backup.name for backup in backups(warehouse, tables))]
    return [
        found[0]
        for name in names
        for found in warehouse.rows(f"SELECT {what} FROM {tables.database}.{name} FINAL")
    ]


@pytest.mark.parametrize("request_", MODES.values(), ids=MODES.keys())
def test_rows_that_come_after_any_statement_are_not_lost(
    warehouse: Warehouse, tables: Tables, request_: TruncateRequest
) -> None:
    migrated(warehouse, tables, *mixed())
    written: list[str] = []
    stays: set[str] = set()

    def write(sql: str) -> None:
        number = len(written)
        valid = by_engine(f"late {number}", client_order_id=f"valid {number}", ts=NOW - HOUR)
        junk = by_engine("", client_order_id=f"junk {number}", size=Decimal(0), ts=NOW - HOUR)
        again = row("old", version=2, client_order_id=f"again {number}")
        insert(warehouse, tables, [valid, junk, again])
        written.extend((f"valid {number}", f"junk {number}"))
        stays.add(f"valid {number}")
        if JUDGES in sql or len(stays) > 2:  # what comes later is not judged any more
            stays.add(f"junk {number}")

    done = truncate(Meddled(warehouse, write), tables, request_)

    assert len(written) > 4
    found = _everywhere(warehouse, tables)
    assert sorted(found.count(text) for text in written) == [1] * len(written)
    assert done.rows_before == done.rows_removed + done.rows_left
    assert leftovers(warehouse, tables) == set()
    if request_ is not EVERYTHING:
        stayed = {
            found[0] for found in warehouse.rows(f"SELECT client_order_id FROM {tables.name()}")
        }
        assert stays <= stayed


def test_a_correction_that_comes_late_stays(warehouse: Warehouse, tables: Tables) -> None:
    broken = {"price_cents": Decimal(0)}
    migrated(warehouse, tables, by_engine("f1", **broken), by_engine("f3", **broken), row("f2"))

    def correct(sql: str) -> None:
        if JUDGES in sql:
            insert(warehouse, tables, [row("f1", version=9)])

    done = truncate(Meddled(warehouse, correct), tables, GARBAGE)

    assert ids(warehouse, tables) == ["f1", "f2"]
    assert done.backup is not None
    assert ids(warehouse, tables, done.backup) == ["f1", "f3"]


@pytest.mark.parametrize("keep", [True, False], ids=["with a backup", "without"])
def test_the_old_table_is_kept_whole_where_a_row_of_it_is_nowhere_else(
    warehouse: Warehouse, tables: Tables, keep: bool
) -> None:
    migrated(warehouse, tables, row("f1"), row("f2"), row("junk", size=Decimal(0)))

    def lose(sql: str) -> None:
        if "EXCHANGE" in sql:
            warehouse.command(
                f"ALTER TABLE {tables.name()} DELETE WHERE fill_id = 'f1' "
                "SETTINGS mutations_sync = 2"
            )

    done = truncate(Meddled(warehouse, lose), tables, GARBAGE._replace(keep=keep))

    assert done.backup_holds_all_rows
    assert done.backup is not None
    assert ids(warehouse, tables, done.backup) == ["f1", "f2", "junk"]
    assert leftovers(warehouse, tables) == set()


def test_a_row_that_comes_into_the_empty_table_at_a_restore_is_not_lost(
    warehouse: Warehouse, tables: Tables
) -> None:
    migrated(warehouse, tables, row("f1"))
    gone = truncate(warehouse, tables)
    assert gone.backup is not None
    name = gone.backup

    def write(sql: str) -> None:
        if "EXCHANGE" in sql:  # its insert began before, and ends in the table of then
            values = tuple(row("late").values())
            warehouse.insert(f"{tables.database}.{name}", tuple(row("late")), [values])

    back = truncate(Meddled(warehouse, write), tables, TruncateRequest(restore=name))

    assert ids(warehouse, tables) == ["f1", "late"]
    assert (back.rows_late, back.rows_restored) == (1, 2)
    assert backups(warehouse, tables) == []


ALL_BUT_MENDED = "toString(tuple(* EXCEPT (fill_id, source, content_hash, version)))"
"""A whole row but what changes where its id is mended."""


class _KilledError(BaseException):
    """Stands for kill -9: nothing catches it."""


def _killed_after(warehouse: Warehouse, statements: int) -> Meddled:
    left = itertools.count(statements - 1, -1)

    def die(_: str) -> None:
        if next(left) <= 0:
            raise _KilledError

    return Meddled(warehouse, die)


FOR_GOOD = {
    f"{name}, for good": MODES[name]._replace(keep=False) for name in ("everything", "before")
}


@pytest.mark.sampled(10)
@pytest.mark.parametrize("request_", [*MODES.values(), *FOR_GOOD.values()], ids=[*MODES, *FOR_GOOD])
def test_a_run_killed_after_any_statement_is_ended_right_by_the_next(
    warehouse: Warehouse, tables: Tables, request_: TruncateRequest
) -> None:
    keep = request_.keep
    for killed in itertools.count(1):
        where = f"killed after statement {killed}"
        warehouse.command(f"DROP DATABASE IF EXISTS {tables.database} SYNC")
        migrated(warehouse, tables)
        insert(warehouse, tables, mixed())
        synced_until(warehouse, tables, NOW)
        rows = set(_everywhere(warehouse, tables, ALL_BUT_MENDED))
        try:
            last = truncate(_killed_after(warehouse, killed), tables, request_)
        except _KilledError:
            pass
        else:
            break
        if keep:
            now_there = set(_rows_anywhere(warehouse, tables))
            assert rows <= now_there, where
        mark = watermark(warehouse, tables)
        require_today(warehouse, tables)
        if len(ids(warehouse, tables)) < len(rows) - 1 and request_.garbage is False:
            assert mark is None or mark <= TRADED, where

        done = truncate(warehouse, tables, request_)

        assert leftovers(warehouse, tables) == set(), where
        assert done.rows_before == done.rows_removed + done.rows_left
        kept = [backup for backup in backups(warehouse, tables) if backup.rows]
        assert len(kept) == (1 if keep or len(kept) else 0), where
        if keep:
            assert set(_everywhere(warehouse, tables, ALL_BUT_MENDED)) >= rows, where
        require_today(warehouse, tables)
        assert not truncate(warehouse, tables, request_).acted, where
    assert killed > (2 if request_.what == "everything" else 8)
    assert last.acted


def _rows_anywhere(warehouse: Warehouse, tables: Tables) -> list[Any]:
    names = [
        name
        for name in names_there(warehouse, tables)
        if name == tables.fills or "_backup_" in name or ("__" in name and "verdicts" not in name)
    ]
    return [
        found[0]
        for name in names
        for found in warehouse.rows(f"SELECT {ALL_BUT_MENDED} FROM {tables.database}.{name} FINAL")
    ]


def test_a_restore_killed_after_any_statement_is_ended_right_by_the_next(
    warehouse: Warehouse, tables: Tables
) -> None:
    for killed in itertools.count(1):
        warehouse.command(f"DROP DATABASE IF EXISTS {tables.database} SYNC")
        migrated(warehouse, tables, row("f1"), row("f2"))
        gone = truncate(warehouse, tables)
        request = TruncateRequest(restore=gone.backup)
        try:
            truncate(_killed_after(warehouse, killed), tables, request)
        except _KilledError:
            pass
        else:
            break
        with contextlib.suppress(SettingsError):  # it may be done
            truncate(warehouse, tables, request)
        assert ids(warehouse, tables) == ["f1", "f2"]
    assert killed > 2


def test_an_empty_table_under_a_backup_s_name_is_dropped_by_the_next_run(
    warehouse: Warehouse, tables: Tables
) -> None:
    migrated(warehouse, tables, row("f1"))
    left = tables.name("_backup_20261101T000000Z")
    warehouse.command(f"CREATE TABLE {left} AS {tables.name()}")

    done = truncate(warehouse, tables)

    assert [backup.name for backup in done.backups] == [done.backup]
    assert "held no row and was dropped" in done.unfinished[0]


@pytest.mark.torture
def test_what_somebody_changed_beside_a_killed_run_is_kept_whole(
    warehouse: Warehouse, tables: Tables
) -> None:
    migrated(warehouse, tables, *mixed())
    exchanged = _killed_after(warehouse, 1)
    after = itertools.count(1)
    for statements in after:  # until it dies just after the exchange
        exchanged = _killed_after(warehouse, statements)
        with contextlib.suppress(_KilledError):
            truncate(exchanged, tables, GARBAGE)
        left = [name for name in leftovers(warehouse, tables) if "verdicts" not in name]
        if left and len(ids(warehouse, tables)) < 7:
            break
    (old,) = left
    rows = content(warehouse, f"{tables.database}.{old}")
    warehouse.command(f"ALTER TABLE {tables.name()} ADD COLUMN desk String")

    done = truncate(warehouse, tables, GARBAGE)

    kept = [backup for backup in backups(warehouse, tables) if backup.rows]
    assert leftovers(warehouse, tables) == set()
    assert len(kept) == 1
    assert content(warehouse, f"{tables.database}.{kept[0].name}") == rows
    assert kept[0].name in done.unfinished[0]


@pytest.mark.torture
@pytest.mark.server
def test_beside_an_engine_that_never_stops_garbage_goes_and_nothing_else(
    server: ClickHouseServer,
) -> None:
    tables = Tables(f"truncate_live_{os.getpid()}")
    warehouse = open_server(server.url("default"))
    end, acknowledged, errors = threading.Event(), [], []

    def write() -> None:
        engine = open_server(server.url("default"))
        for number in itertools.count():
            if end.is_set():
                break
            junk = number % 2
            entry = legacy_row(
                number,
                client_order_id=f"written {number}",
                price=0.0 if junk else 0.41,
                price_cents=0 if junk else 41,
            )
            try:
                engine.insert(tables.name(), tuple(entry), [tuple(entry.values())])
            except WarehouseError as error:
                errors.append(error)
            acknowledged.append(f"written {number}")
        engine.close()

    try:
        migrated(warehouse, tables)
        warehouse.command(
            f"INSERT INTO {tables.name()} (ts, fill_id, exchange_order_id, market_ticker, side, "
            "price_cents, size, version) SELECT now() - 60, toString(number), 'o', 't', 'yes', "
            "if(number % 2, 41, 0), 1, 5 FROM numbers(200000)"
        )
        writer = threading.Thread(target=write)
        writer.start()
        while len(acknowledged) < 20 and writer.is_alive():
            time.sleep(0.01)

        done = truncate(warehouse, tables, GARBAGE, datetime.now(UTC))
        end.set()
        writer.join(timeout=600)

        assert errors == []
        assert len(acknowledged) > 20
        found = _everywhere(warehouse, tables)
        by_payload = {text for text in found if text}
        assert set(acknowledged) == by_payload
        assert ids(warehouse, tables).count("") < 100_000
        assert warehouse.rows(
            f"SELECT countIf(price_cents > 0), countIf(price_cents = 0) FROM {tables.name()} FINAL "
            "WHERE version = 5"
        ) == [(100_000, 0)]
        assert done.rows_before == done.rows_removed + done.rows_left
    finally:
        end.set()
        warehouse.command(f"DROP DATABASE IF EXISTS {tables.database} SYNC")
        warehouse.close()
