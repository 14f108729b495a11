"""Where rows are removed; every other module of this folder that acts is passed it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from kalshi_fills.truncate.names import backup_suffix, stamp_of
from kalshi_fills.warehouse.client import Warehouse
from kalshi_fills.warehouse.replicas import as_spread
from kalshi_fills.warehouse.runs import RunLedger
from kalshi_fills.warehouse.statements import Tables


class Place(NamedTuple):
    """Where rows are removed, and when that began."""

    warehouse: Warehouse
    tables: Tables
    ledger: RunLedger
    now: datetime

    @property
    def stamp(self) -> str:
        """When it began, as it stands in a table's name."""
        return stamp_of(self.now)

    @property
    def backup(self) -> str:
        """The suffix of the backup that is made now."""
        return backup_suffix(self.stamp)

    def suffix(self, name: str) -> str:
        """Return what follows the fills table's name in another one."""
        return name.removeprefix(self.tables.fills)

    def run(self, name: str, suffixes: Mapping[str, str] | None = None) -> None:
        """Run one of the SQL files."""
        self.warehouse.command(self.tables.sql(name, suffixes=suffixes))


def place_of(warehouse: Warehouse, tables: Tables, run_id: UUID, now: datetime) -> Place:
    """Return where to remove rows, how the tables are spread over hosts taken into account.

    Args:
        warehouse: where the tables are.
        tables: their names.
        run_id: under which the ledger records what was done.
        now: when it begins.
    """
    tables = as_spread(warehouse, tables)
    ledger = RunLedger(warehouse, tables, run_id)
    return Place(warehouse, tables, ledger, now)
