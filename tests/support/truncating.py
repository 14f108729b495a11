"""Tables to be truncated, and what is left of them."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from kalshi_fills.migrate.run import migrate
from kalshi_fills.pipeline.stages import Counts
from kalshi_fills.practice.exchange import PracticeExchange
from kalshi_fills.truncate.place import place_of
from kalshi_fills.truncate.plan import TruncateRequest, TruncationReport
from kalshi_fills.truncate.run import truncate as remove_rows
from kalshi_fills.warehouse.client import Row, TextTable, Value, Warehouse
from kalshi_fills.warehouse.runs import Run
from kalshi_fills.warehouse.statements import Tables
from kalshi_fills.warehouse.store import FillStore
from support.commandline import Done
from support.legacy import (
    names_there,
)

Cli = Callable[..., Done]


Serve = Callable[..., PracticeExchange]


NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


TRADED = NOW - timedelta(days=2)


ORDER = "11111111-2222-3333-4444-555555555555"


TICKER = "KXHIGHNY-26NOV20-B52.5"


HOUR, DAY = timedelta(hours=1), timedelta(days=1)


EVERYTHING = TruncateRequest()


GARBAGE = TruncateRequest(garbage=True)


serial = itertools.count(1)


def row(fill_id: str, **changes: object) -> dict[str, object]:
    """A row of today's table: a valid fill that a sync wrote, unless told otherwise."""
    return {
        "ts": TRADED,
        "fill_id": fill_id,
        "exchange_order_id": ORDER,
        "market_ticker": TICKER,
        "side": "yes",
        "price_cents": Decimal("41"),
        "size": Decimal("10"),
        "source": "live",
        "version": 5,
        "raw_json": "{}",
        "client_order_id": "",
        "decision_id": uuid.UUID(int=0),
        **changes,
    }


def by_engine(fill_id: str, **changes: object) -> dict[str, object]:
    """A row that an engine wrote by itself."""
    return row(fill_id, **{"source": "", "version": 0, **changes})


def payload(fill_id: str, order: str = ORDER, key: str = "fill_id") -> str:
    return json.dumps({key: fill_id, "order_id": order})


def insert(warehouse: Warehouse, tables: Tables, rows: Iterable[Mapping[str, object]]) -> None:
    """Insert rows, those of the same columns as one part."""
    for names, alike in itertools.groupby(rows, key=lambda entry: tuple(entry)):
        warehouse.insert(tables.name(), names, [tuple(entry.values()) for entry in alike])


def migrated(warehouse: Warehouse, tables: Tables, *rows: Mapping[str, object]) -> None:
    """Make today's tables, with these rows, each a part of its own."""
    migrate(warehouse, tables, NOW)
    for entry in rows:
        insert(warehouse, tables, [entry])


def truncate(
    warehouse: Warehouse,
    tables: Tables,
    request: TruncateRequest = EVERYTHING,
    now: datetime | None = None,
) -> TruncationReport:
    """Run one, a second after the one before, as a person would at the earliest."""
    at = now or NOW + next(serial) * timedelta(seconds=1)
    return remove_rows(place_of(warehouse, tables, uuid.uuid4(), at), request)


def ids(warehouse: Warehouse, tables: Tables, name: str | None = None) -> list[str]:
    table = tables.name() if name is None else f"{tables.database}.{name}"
    return [found[0] for found in warehouse.rows(f"SELECT fill_id FROM {table} FINAL ORDER BY 1")]


def watermark(warehouse: Warehouse, tables: Tables) -> datetime | None:
    return FillStore(warehouse, tables, uuid.uuid4(), NOW, dry_run=False).last_watermark()


def synced_until(
    warehouse: Warehouse, tables: Tables, mark: datetime | None, at: datetime = NOW
) -> None:
    """Write the ledger entry of a sync."""
    run_id = uuid.uuid4()
    run = Run(run_id, "done", at, at, None, at, mark, Counts(), "elsewhere", 1)
    FillStore(warehouse, tables, run_id, at, dry_run=False).record(run, at)


def leftovers(warehouse: Warehouse, tables: Tables) -> set[str]:
    return {name for name in names_there(warehouse, tables) if "__" in name}


class Meddled:
    """A warehouse on which something happens after each statement that writes."""

    def __init__(self, warehouse: Warehouse, meddle: Callable[[str], None]) -> None:
        self._warehouse = warehouse
        self._meddle = meddle

    def rows(
        self,
        sql: str,
        params: Mapping[str, Value] | None = None,
        *,
        wanted: TextTable | None = None,
    ) -> list[Row]:
        return self._warehouse.rows(sql, params, wanted=wanted)

    def command(self, sql: str, params: Mapping[str, Value] | None = None) -> None:
        self._warehouse.command(sql, params)
        self._meddle(sql)

    def insert(self, table: str, names: Sequence[str], rows: Sequence[Sequence[Value]]) -> None:
        self._warehouse.insert(table, names, rows)
        self._meddle(table)

    def close(self) -> None:
        self._warehouse.close()


MODES = {
    "everything": EVERYTHING,
    "garbage": GARBAGE,
    "before": TruncateRequest(before=TRADED + HOUR),
}


def mixed() -> list[dict[str, object]]:
    """What each mode removes some of: valid, invalid, repeated, mended, old and new."""
    return [
        row("old"),
        row("old", version=1),
        row("new", ts=NOW - HOUR),
        row("twice", market_ticker="a", ts=NOW - HOUR),
        row("twice", market_ticker="b", ts=NOW - HOUR, version=9),
        by_engine("junk", price_cents=Decimal(0), client_order_id="junk"),
        by_engine("", raw_json=payload("mended"), client_order_id="mended"),
        by_engine("", client_order_id="lost"),
    ]
