"""Backups that truncate keeps: their names, what they hold, and the command that drops each.

A backup is a table beside the fills table, named `<table>_backup_<UTC stamp>`. Nothing here writes;
nothing anywhere drops one that holds a row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

from kalshi_fills.migrations import Table, tables_there
from kalshi_fills.queries import Tables, quote_identifier
from kalshi_fills.warehouse import Warehouse

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


def stamp(moment: datetime) -> str:
    """Write a moment as it stands in a table's name."""
    return f"{moment:{_STAMP_FORMAT}}"


def backup_suffix(its_stamp: str) -> str:
    """Give what follows the fills table's name in that of its backup."""
    return f"_backup_{its_stamp}"


def backups(warehouse: Warehouse, tables: Tables) -> list[Backup]:
    """List the backups of the fills table, oldest first."""
    found = []
    on_cluster = f" ON CLUSTER {quote_identifier(tables.cluster)}" if tables.cluster else ""
    for suffix, table in tables_there(warehouse, tables).items():
        created = _created(suffix)
        if created is not None:
            rows = count_fills(warehouse, tables, table)
            drop = f"DROP TABLE {tables.name(suffix)}{on_cluster}"
            found.append(Backup(table.name, rows, table.bytes or 0, created, drop))
    return sorted(found, key=lambda backup: backup.created)


def legacy_tables(there: Mapping[str, Table]) -> list[str]:
    """Give the tables that migrate keeps aside, which are no backups of a truncate."""
    return [table.name for suffix, table in there.items() if _LEGACY(suffix)]


def count_fills(warehouse: Warehouse, tables: Tables, table: Table) -> int:
    """Count a table's fills, whatever is merged yet; of an old engine's table its rows."""
    statement = tables.sql(
        "truncate/count_fills",
        suffixes={"": table.name.removeprefix(tables.fills)},
        everywhere=not is_replicated(table),
        final=table.engine.endswith("ReplacingMergeTree"),
    )
    return int(warehouse.rows(statement)[0][0])


def is_replicated(table: Table) -> bool:
    """Whether every replica of the table has all its rows."""
    return table.engine.startswith(("Replicated", "Shared"))


def _created(suffix: str) -> datetime | None:
    match = _BACKUP(suffix)
    if match is None:
        return None
    try:
        return datetime.strptime(match.group(1), _STAMP_FORMAT).replace(tzinfo=UTC)
    except ValueError:  # the digits are no date: somebody else's table
        return None
