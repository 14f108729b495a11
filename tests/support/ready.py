"""Today's tables, made once and used by one test after another."""

from __future__ import annotations

import os

from kalshi_fills.migrate.run import migrate
from kalshi_fills.warehouse.client import Row, Warehouse
from kalshi_fills.warehouse.statements import Tables
from support.commandline import serial
from support.syncing import NOW

_FILLED = ("", "_rejected", "_runs")


class ReadyTables:
    """Empty tables of an engine, made anew only where a test has changed more than their rows."""

    def __init__(self) -> None:
        self._tables: Tables | None = None
        self._made: list[Row] = []

    def take(self, warehouse: Warehouse) -> Tables:
        """Return the names of tables that are today's and hold no rows."""
        if self._tables is None:
            self._tables = Tables(f"ready_{os.getpid()}_{next(serial)}")
            migrate(warehouse, self._tables, NOW)
            self._made = _state(warehouse, self._tables)
        return self._tables

    def give_back(self, warehouse: Warehouse) -> None:
        """Empty the tables, or drop them if they are not what they were."""
        assert self._tables is not None
        if _state(warehouse, self._tables) != self._made:
            warehouse.command(f"DROP DATABASE IF EXISTS {self._tables.database} SYNC")
            self._tables = None
            return
        for suffix in _FILLED:
            warehouse.command(f"SYSTEM START MERGES {self._tables.name(suffix)}")
            warehouse.command(f"TRUNCATE TABLE {self._tables.name(suffix)}")


def _state(warehouse: Warehouse, tables: Tables) -> list[Row]:
    """Return all but the rows of fills, refused items and runs."""
    made = warehouse.rows(
        "SELECT name, toString(uuid), create_table_query FROM system.tables "
        "WHERE database = {d:String} ORDER BY name",
        {"d": tables.database},
    )
    if not any(name == f"{tables.fills}_migrations" for name, *_ in made):
        return made
    return made + warehouse.rows(f"SELECT * FROM {tables.name('_migrations')} ORDER BY ALL")
