"""Today's tables, made once and used by one test after another."""

from __future__ import annotations

import os

from kalshi_fills.migrate.run import migrate
from kalshi_fills.warehouse.client import Row, Warehouse
from kalshi_fills.warehouse.statements import Tables
from support.commandline import serial
from support.syncing import NOW


class ReadyTables:
    """Empty tables of an engine, made anew only where a test has changed more than their rows."""

    def __init__(self) -> None:
        self._tables: Tables | None = None
        self._made: list[tuple[str, str, str]] = []
        """Their names, engines, and how they were made."""
        self._migrations: list[Row] = []

    def take(self, warehouse: Warehouse) -> Tables:
        """Return the names of tables that are today's and hold no rows."""
        if self._tables is None:
            self._tables = Tables(f"ready_{os.getpid()}_{next(serial)}")
            migrate(warehouse, self._tables, NOW)
            self._made = _made(warehouse, self._tables)
            self._migrations = _migrations(warehouse, self._tables)
        return self._tables

    def give_back(self, warehouse: Warehouse) -> None:
        """Empty the tables, or drop them if they are not what they were."""
        assert self._tables is not None
        tables, self._tables = self._tables, None
        if (
            _made(warehouse, tables) != self._made
            or _migrations(warehouse, tables) != self._migrations
        ):
            warehouse.command(f"DROP DATABASE IF EXISTS {tables.database} SYNC")
            return
        for name, engine, _ in self._made:
            if engine.endswith("MergeTree") and name != f"{tables.fills}_migrations":
                table = tables.name(name.removeprefix(tables.fills))
                warehouse.command(f"SYSTEM START MERGES {table}")
                warehouse.command(f"TRUNCATE TABLE {table}")
        self._tables = tables


def _made(warehouse: Warehouse, tables: Tables) -> list[tuple[str, str, str]]:
    found = warehouse.rows(
        "SELECT name, engine, concat(toString(uuid), create_table_query) FROM system.tables "
        "WHERE database = {d:String} ORDER BY name",
        {"d": tables.database},
    )
    return [(name, engine, made) for name, engine, made in found]


def _migrations(warehouse: Warehouse, tables: Tables) -> list[Row]:
    return warehouse.rows(f"SELECT * FROM {tables.name('_migrations')} ORDER BY ALL")
