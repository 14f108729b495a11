"""Fills to be stored, and the tables they are stored in."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from kalshi_fills.pipeline.batch import Batch
from kalshi_fills.pipeline.fills import Rejected
from kalshi_fills.pipeline.parse import read_item
from kalshi_fills.pipeline.stages import Counts
from kalshi_fills.warehouse.client import Warehouse
from kalshi_fills.warehouse.fills import WriteOutcome, Written
from kalshi_fills.warehouse.runs import Run
from kalshi_fills.warehouse.statements import Tables
from kalshi_fills.warehouse.store import FillStore
from support import fills
from support.fills import Values

NOW = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)


DECISION = uuid.UUID("5b0d2a1f-51c3-4d0b-9f57-8e0f7a3e9c11")


LINKS = "client_order_id, engine_instance_id, engine_version, decision_id"


FILL = fills.FILL._replace(
    executed_at=datetime(2026, 11, 22, 10, 0, 0, 417, tzinfo=UTC),
    fill_id="3f2a0000-0000-0000-0000-000000000001",
    order_id="9c1b0000-0000-0000-0000-000000000001",
    ticker="KXHIGHNY-26NOV23-B52.5",
    outcome="yes",
    action="buy",
    yes_price_dollars=Decimal("0.4100"),
    no_price_dollars=Decimal("0.5900"),
    contracts=Decimal("10.00"),
    fee_dollars=Decimal("0.169330"),
    subaccount_number=0,
    raw_json='{"fill_id": "one"}',
)
"""The fill that a book has first."""


class Book:
    """The tables of one account, migrated; every write is a run of its own."""

    def __init__(self, warehouse: Warehouse, tables: Tables) -> None:
        self.warehouse = warehouse
        self.tables = tables

    def store(
        self,
        at: datetime = NOW,
        *,
        dry_run: bool = False,
        warehouse: Warehouse | None = None,
        run_id: uuid.UUID | None = None,
    ) -> FillStore:
        return FillStore(
            warehouse or self.warehouse, self.tables, run_id or uuid.uuid4(), at, dry_run
        )

    def write(self, *fills: Values, **how: Any) -> WriteOutcome:
        outcome = self.store(**how).write(Batch.of(one.fill for one in fills))
        assert len(outcome.as_sent) == outcome.n_new + outcome.n_known
        assert len(outcome.as_sent) + len(outcome.looked_at) == len(fills)
        return outcome

    def engine(self, fill: Values = FILL, **changes: Any) -> None:
        """Write a row as an engine does, with its own column list."""
        row = {
            "ts": fill.executed_at.replace(microsecond=0),
            "engine_instance_id": "mm-3f",
            "engine_version": "0.9.3",
            "market_ticker": fill.ticker,
            "exchange_order_id": fill.order_id,
            "client_order_id": "engine-order",
            "side": fill.outcome,
            "price_cents": 41,
            "size": 10,
            "decision_id": DECISION,
            "fill_id": fill.fill_id,
            "raw_json": "{}",
        } | changes
        self.insert(row)

    def insert(self, *rows: Mapping[str, Any]) -> None:
        names = list(rows[0])
        self.warehouse.insert(self.tables.name(), names, [list(row.values()) for row in rows])

    def rows(self, what: str, suffix: str = "", order: str = "ALL") -> list[tuple[Any, ...]]:
        return self.warehouse.rows(
            f"SELECT {what} FROM {self.tables.name(suffix)} FINAL ORDER BY {order}"
        )

    def merge(self, suffix: str = "") -> None:
        self.warehouse.command(f"OPTIMIZE TABLE {self.tables.name(suffix)} FINAL")

    def once(self, what: str) -> tuple[Any, ...]:
        """Return the only row there is, the same before and after a merge."""
        before = self.rows(what)
        self.merge()
        assert self.rows(what) == before
        assert len(before) == 1
        return before[0]


def kinds(outcome: WriteOutcome) -> Counter[str]:
    """How many fills of a write were new, known and corrected."""
    found = Counter(new=outcome.n_new, known=outcome.n_known)
    found.update("corrected" if one.differences else "known" for one in outcome.looked_at)
    return +found


def kind(outcome: WriteOutcome) -> str:
    """What the only fill of a write was."""
    (only,) = kinds(outcome).elements()
    return only


def looked_at(outcome: WriteOutcome) -> Written:
    """The only fill of a write, of which the table held something."""
    (only,) = outcome.looked_at
    return only


def refusal(item: object, text: str | None = None) -> Rejected:
    raw = json.dumps(item) if text is None else text
    refused = read_item(raw, "live", NOW)
    assert isinstance(refused, Rejected)
    return refused


def run(**changes: Any) -> Run:
    return Run(
        run_id=uuid.UUID(int=7),
        status="running",
        started_at=NOW,
        finished_at=None,
        window_start=None,
        window_end=NOW,
        watermark=None,
        counts=Counts(),
        host="host",
        pid=4711,
    )._replace(**changes)
