"""Backups that truncate keeps: their names, what they hold, and the command that drops each.

A backup is a table beside the fills table, named `<table>_backup_<UTC stamp>`, that bears our mark
or, where it was made of a table older than any mark, has the columns of fills. Whatever else bears
such a name is somebody else's. Nothing here writes; nothing anywhere drops one that holds a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from kalshi_fills.errors import WarehouseError
from kalshi_fills.truncate.names import created_at, is_legacy
from kalshi_fills.warehouse.client import Warehouse, select_one
from kalshi_fills.warehouse.ownership import Table, is_fills_table
from kalshi_fills.warehouse.statements import Tables
from kalshi_fills.warehouse.there import columns, tables_there


class Backup(NamedTuple):
    """One backup."""

    name: str
    rows: int
    """Fills where its engine knows them apart, else rows."""
    bytes: int
    created: datetime
    """By its name."""
    drop: str
    """The statement that drops it."""
    is_marked: bool = True
    """It bears our mark, so that it may be dropped where it holds no row."""


class _RowCount(NamedTuple):
    rows: int


def backups(warehouse: Warehouse, tables: Tables) -> list[Backup]:
    """Return the backups of the fills table, oldest first."""
    found = []
    for suffix, table in tables_there(warehouse, tables).items():
        created = created_at(suffix)
        if created is not None and _is_ours(warehouse, tables, suffix, table):
            rows = _count_or_estimate(warehouse, tables, table)
            drop = f"DROP TABLE {tables.name(suffix)}{tables.on_cluster}"
            backup = Backup(table.name, rows, table.bytes or 0, created, drop, table.is_marked)
            found.append(backup)
    return sorted(found, key=lambda backup: backup.created)


def empty_backups(found: list[Backup], restored: str | None) -> list[Backup]:
    """Return those backups that may be dropped: without a row, marked, and not to be restored."""
    return [one for one in found if one.is_marked and not one.rows and one.name != restored]


def legacy_tables(there: Mapping[str, Table]) -> list[str]:
    """Return the tables that migrate keeps aside, which are not backups of a truncate."""
    return [table.name for suffix, table in there.items() if is_legacy(suffix)]


def count_fills(warehouse: Warehouse, tables: Tables, table: Table) -> int:
    """Return how many fills a table holds, merged or not; of an old engine's table its rows."""
    statement = tables.sql(
        "truncate/count_fills",
        suffixes={"__counted": table.name.removeprefix(tables.fills)},
        everywhere=not table.is_replicated,
        final=table.engine.endswith("ReplacingMergeTree"),
    )
    found = select_one(warehouse, _RowCount, statement)
    return found.rows if found is not None else 0


def _is_ours(warehouse: Warehouse, tables: Tables, suffix: str, table: Table) -> bool:
    if table.is_marked:
        return True
    return is_fills_table(table, [column.name for column in columns(warehouse, tables, suffix)])


def _count_or_estimate(warehouse: Warehouse, tables: Tables, table: Table) -> int:
    """Return a backup's fills; of one that cannot be read, the rows that the engine knows of."""
    try:
        return count_fills(warehouse, tables, table)
    except WarehouseError as error:
        if error.code is None:
            raise
        return table.rows or 0
