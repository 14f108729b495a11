"""Tables as earlier times made them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from kalshi_fills.warehouse.client import Row, Warehouse
from kalshi_fills.warehouse.server import open_server
from kalshi_fills.warehouse.statements import Tables, quote_identifier
from support.commandline import ServerWithUsers

TRADED = datetime(2026, 11, 20, 9, 30, 0, 123_000, tzinfo=UTC)

ORDER = "11111111-2222-3333-4444-555555555555"

LEGACY: Mapping[str, str] = {
    "ts": "DateTime64(3,'UTC')",
    "engine_instance_id": "String",
    "engine_version": "String",
    "market_ticker": "String",
    "exchange_order_id": "String",
    "client_order_id": "String",
    "side": "LowCardinality(String)",
    "price": "Float64",
    "price_cents": "UInt16",
    "size": "Float64",
    "fee": "Float64",
    "decision_id": "UUID",
    "raw_json": "String",
}

LEGACY_ENGINE = "MergeTree PARTITION BY toDate(ts) ORDER BY (market_ticker, ts)"


def payload(fill_id: str, order: str = ORDER, key: str = "fill_id") -> str:
    return json.dumps({key: fill_id, "order_id": order})


def legacy_row(number: int, **changes: object) -> dict[str, object]:
    """A row as the engine wrote it: a real fill `f<number>`, its id in the payload alone."""
    return {
        "ts": TRADED + timedelta(seconds=number),
        "engine_instance_id": "mm-7",
        "engine_version": "0.9.3",
        "market_ticker": "KXHIGHNY-26NOV20-B52.5",
        "exchange_order_id": ORDER,
        "client_order_id": f"client-{number}",
        "side": "yes",
        "price": 0.41,
        "price_cents": 41,
        "size": 10.0,
        "fee": 0.16933,
        "decision_id": uuid.UUID(int=number + 1),
        "raw_json": payload(f"f{number}"),
        **changes,
    }


def make(
    warehouse: Warehouse,
    tables: Tables,
    types: Mapping[str, str] = LEGACY,
    rows: Sequence[Mapping[str, object]] = (),
    engine: str = LEGACY_ENGINE,
    suffix: str = "",
) -> None:
    """Make a table of these columns under one of our names, with its database, and fill it."""
    warehouse.command(f"CREATE DATABASE IF NOT EXISTS {tables.database}")
    listed = ", ".join(f"{quote_identifier(name)} {kind}" for name, kind in types.items())
    warehouse.command(f"CREATE TABLE {tables.name(suffix)} ({listed}) ENGINE = {engine}")
    if rows:
        insert(warehouse, tables, rows, suffix)


def insert(
    warehouse: Warehouse,
    tables: Tables,
    rows: Sequence[Mapping[str, object]],
    suffix: str = "",
) -> None:
    names = list(rows[0])
    warehouse.insert(
        tables.name(suffix), names, [tuple(row[name] for name in names) for row in rows]
    )


def content(warehouse: Warehouse, name: str) -> list[Row]:
    """Return every row of a table, in an order that does not depend on how it is stored."""
    return sorted(warehouse.rows(f"SELECT * FROM {name}"), key=repr)


def snapshot(read: Callable[..., list[Row]], database: str) -> list[Row]:
    """Return what is there: databases, tables, how they were made, when, and their rows.

    Not their bytes, which a merge in the background changes.
    """
    there = read(
        "SELECT name, engine, toString(uuid), create_table_query, metadata_modification_time, "
        "total_rows FROM system.tables WHERE database = {d:String} ORDER BY name",
        {"d": database},
    )
    return [*read("SELECT name FROM system.databases ORDER BY name"), *there]


def names_there(warehouse: Warehouse, tables: Tables) -> set[str]:
    return {
        row[0]
        for row in warehouse.rows(
            "SELECT name FROM system.tables WHERE database = {d:String}", {"d": tables.database}
        )
    }


class Users:
    """Makes users on a server of their own, each for the fills tables of one database."""

    def __init__(self, server: ServerWithUsers, tables: Tables) -> None:
        self.tables = tables
        self.admin = open_server(server.url("default"))
        self._server = server
        self._opened: list[Warehouse] = []

    def url(self, name: str, *statements: str, settings: str = "") -> str:
        """Make the user, run the statements (`USER` and `DB` stand for theirs), give the URL."""
        user = f"{name}_{self.tables.database}"
        self.admin.command(f"CREATE USER {user} IDENTIFIED WITH sha256_password BY 'pw' {settings}")
        for statement in statements:
            self.admin.command(
                statement.replace("USER", user).replace("DB.", f"{self.tables.database}.")
            )
        return self._server.url(self.tables.database, user, "pw")

    def open(self, url: str) -> Warehouse:
        self._opened.append(open_server(url))
        return self._opened[-1]

    def close(self) -> None:
        for opened in (*self._opened, self.admin):
            opened.close()
