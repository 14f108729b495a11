"""Which tables of ours are there, and with which columns; nothing is judged here."""

from __future__ import annotations

from kalshi_fills.warehouse.client import Warehouse, select
from kalshi_fills.warehouse.declared import Column, DeclaredColumn
from kalshi_fills.warehouse.ownership import Table
from kalshi_fills.warehouse.statements import Tables


def tables_there(warehouse: Warehouse, tables: Tables) -> dict[str, Table]:
    """Return the tables of ours that are there, by suffix."""
    found = select(
        warehouse,
        Table,
        tables.sql("schema/tables"),
        {"database": tables.database, "prefix": tables.fills},
    )
    return {table.name.removeprefix(tables.fills): table for table in found}


def declared_columns(
    warehouse: Warehouse, tables: Tables, suffix: str = ""
) -> list[DeclaredColumn]:
    """Return the columns of one of the tables with their defaults, in order."""
    return select(
        warehouse,
        DeclaredColumn,
        tables.sql("schema/columns"),
        {"database": tables.database, "table": tables.fills + suffix},
    )


def columns(warehouse: Warehouse, tables: Tables, suffix: str = "") -> list[Column]:
    """Return the columns of one of the tables, in order; empty if there is no such table."""
    return [
        Column(column.name, column.type) for column in declared_columns(warehouse, tables, suffix)
    ]
