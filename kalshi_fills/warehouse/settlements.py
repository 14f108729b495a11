"""Writing settlements: what is new or differs from what the table holds, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from kalshi_fills.errors import InsertUnknown, WarehouseError
from kalshi_fills.pipeline.settlements import Settlement, SettlementKey
from kalshi_fills.warehouse.client import TextTable, Warehouse, in_utc, select, select_one
from kalshi_fills.warehouse.statements import Tables

SETTLEMENTS: Final = "_settlements"
"""Suffix of the table."""

_COLUMNS: Final = (
    "settled_at",
    "market_ticker",
    "event_ticker",
    "subaccount_number",
    "market_result",
    "yes_contracts",
    "no_contracts",
    "yes_cost_dollars",
    "no_cost_dollars",
    "revenue_dollars",
    "fee_dollars",
    "payout_per_yes_dollars",
    "exchange_index",
    "raw_json",
    "run_id",
    "version",
)
"""The fields of a `Settlement` in their order, and what the run adds."""

_MAX_VERSION: Final = (1 << 64) - 1

_LOOKUP_SECONDS: Final = 60.0
"""How long to look up what an insert without an answer stored."""

_LOOKUP_WAIT_SECONDS: Final = 1.0


class WrittenSettlements(NamedTuple):
    """How many settlements were written, and how many were there with the same content."""

    new: int
    corrected: int
    known: int


class _StoredRow(NamedTuple):
    settled_at: datetime
    market_ticker: str
    event_ticker: str
    subaccount_number: int
    market_result: str
    yes_contracts: Decimal
    no_contracts: Decimal
    yes_cost_dollars: Decimal
    no_cost_dollars: Decimal
    revenue_dollars: Decimal
    fee_dollars: Decimal
    payout_per_yes_dollars: Decimal | None
    exchange_index: int | None
    version: int


class _Stored(NamedTuple):
    """What the table holds of one settlement."""

    version: int
    contents: set[tuple[object, ...]]
    """Of the rows with the highest version: which of them counts is undefined."""


class _RowCount(NamedTuple):
    rows: int


class SettlementTable:
    """The table of settlements as one run writes it; with `dry_run` it writes nothing."""

    def __init__(
        self,
        warehouse: Warehouse,
        tables: Tables,
        run_id: UUID,
        started_at: datetime,
        dry_run: bool,
    ) -> None:
        self._warehouse = warehouse
        self._tables = tables
        self._run_id = run_id
        self._version = int(started_at.timestamp() * 1_000_000)
        self._dry_run = dry_run

    def rows(self) -> int:
        """Return how many rows are stored, replaced ones that are not merged yet included."""
        statement = self._tables.sql("schema/count_rows", suffixes={"__counted": SETTLEMENTS})
        found = select_one(self._warehouse, _RowCount, statement)
        return 0 if found is None else found.rows

    def write(self, settlements: Sequence[Settlement]) -> WrittenSettlements:
        """Store settlements, each of another market or subaccount: what is known is left alone.

        After an insert whose answer never came, what is there is looked up before anything is
        sent again.

        Raises:
            WarehouseError: the table could not be read or written.
        """
        stored = self._stored(settlement.key for settlement in settlements)
        new, corrected = [], []
        for settlement in settlements:
            found = stored.get(settlement.key)
            if found is None:
                new.append((settlement, self._version))
            elif found.contents != {settlement.content}:
                version = min(max(self._version, found.version + 1), _MAX_VERSION)
                corrected.append((settlement, version))
        if not self._dry_run:
            self._insert([*new, *corrected])
        known = len(settlements) - len(new) - len(corrected)
        return WrittenSettlements(len(new), len(corrected), known)

    def _stored(self, keys: Iterable[SettlementKey]) -> dict[SettlementKey, _Stored]:
        texts = [(key.ticker, str(key.subaccount_number)) for key in keys]
        if not texts:
            return {}
        wanted = TextTable(("market_ticker", "subaccount_number"), texts)
        statement = self._tables.sql("sync/stored_settlements")
        stored: dict[SettlementKey, _Stored] = {}
        for row in select(self._warehouse, _StoredRow, statement, wanted=wanted):
            key = SettlementKey(row.market_ticker, row.subaccount_number)
            content = (in_utc(row.settled_at), *row[1:-1])
            found = stored.get(key)
            if found is None or row.version > found.version:
                stored[key] = _Stored(row.version, {content})
            elif row.version == found.version:
                found.contents.add(content)
        return stored

    def _insert(self, rows: Sequence[tuple[Settlement, int]]) -> None:
        deadline = time.monotonic() + _LOOKUP_SECONDS
        missing = rows
        while missing:
            try:
                self._warehouse.insert(
                    self._tables.name(SETTLEMENTS),
                    _COLUMNS,
                    [(*settlement, self._run_id, version) for settlement, version in missing],
                )
                return
            except InsertUnknown:
                missing = self._not_there(rows, deadline)
                if missing and time.monotonic() > deadline:
                    raise

    def _not_there(
        self, rows: Sequence[tuple[Settlement, int]], deadline: float
    ) -> list[tuple[Settlement, int]]:
        """Look up which of the rows an insert of unknown fate left out."""
        while True:
            time.sleep(_LOOKUP_WAIT_SECONDS)
            try:
                there = self._stored(settlement.key for settlement, _ in rows)
            except WarehouseError:
                if time.monotonic() > deadline:
                    raise
                continue
            return [
                (settlement, version)
                for settlement, version in rows
                if settlement.key not in there or there[settlement.key].version < version
            ]
