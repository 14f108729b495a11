"""Backups that truncate keeps: their names, what they hold, and the command that drops each.

A backup is a table beside the fills table, named `<table>_backup_<UTC stamp>`, that bears our mark
or, where it was made of a table older than any mark, has the columns of fills. Whatever else bears
such a name is somebody else's. Nothing here writes; nothing anywhere drops one that holds a row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

from kalshi_fills.errors import WarehouseError
from kalshi_fills.warehouse.client import Warehouse
from kalshi_fills.warehouse.ownership import Table, is_fills_table
from kalshi_fills.warehouse.schema import columns, tables_there
from kalshi_fills.warehouse.statements import Tables

_STAMP_FORMAT: Final = "%Y%m%dT%H%M%SZ"

_BACKUP: Final = re.compile(r"_backup_(\d{8}T\d{6}Z)").fullmatch

_LEGACY: Final = re.compile(r"_legacy_\d{8}T\d{6}Z(_unfinished)?").fullmatch


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


def stamp(moment: datetime) -> str:
    """Write a moment as it stands in a table's name."""
    return f"{moment:{_STAMP_FORMAT}}"


def backup_suffix(its_stamp: str) -> str:
    """Give what follows the fills table's name in that of its backup."""
    return f"_backup_{its_stamp}"


def backups(warehouse: Warehouse, tables: Tables) -> list[Backup]:
    """List the backups of the fills table, oldest first."""
    found = []
    for suffix, table in tables_there(warehouse, tables).items():
        created = _created(suffix)
        if created is not None and _is_ours(warehouse, tables, suffix, table):
            rows = _rows_of(warehouse, tables, table)
            drop = f"DROP TABLE {tables.name(suffix)}{tables.on_cluster}"
            backup = Backup(table.name, rows, table.bytes or 0, created, drop, table.is_marked)
            found.append(backup)
    return sorted(found, key=lambda backup: backup.created)


def legacy_tables(there: Mapping[str, Table]) -> list[str]:
    """Give the tables that migrate keeps aside, which are no backups of a truncate."""
    return [table.name for suffix, table in there.items() if _LEGACY(suffix)]


def count_fills(warehouse: Warehouse, tables: Tables, table: Table) -> int:
    """Count a table's fills, whatever is merged yet; of an old engine's table its rows."""
    statement = tables.sql(
        "truncate/count_fills",
        suffixes={"__counted": table.name.removeprefix(tables.fills)},
        everywhere=not table.is_replicated,
        final=table.engine.endswith("ReplacingMergeTree"),
    )
    return int(warehouse.rows(statement)[0][0])


def _is_ours(warehouse: Warehouse, tables: Tables, suffix: str, table: Table) -> bool:
    if table.is_marked:
        return True
    held = [column.name for column in columns(warehouse, tables, suffix)]
    return is_fills_table(table, held)


def _rows_of(warehouse: Warehouse, tables: Tables, table: Table) -> int:
    """Count a backup's fills; of one that cannot be read, the rows that the engine knows of."""
    try:
        return count_fills(warehouse, tables, table)
    except WarehouseError as error:
        if error.code is None:
            raise
        return table.rows or 0


def _created(suffix: str) -> datetime | None:
    match = _BACKUP(suffix)
    if match is None:
        return None
    try:
        return datetime.strptime(match.group(1), _STAMP_FORMAT).replace(tzinfo=UTC)
    except ValueError:  # the digits are no date: somebody else's table
        return None
