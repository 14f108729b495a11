"""Writing fills: what is new or differs from what the table holds, and nothing else.

It decides nothing about what a fill is; it knows columns, versions and links.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from kalshi_fills.errors import InsertUnknown, WarehouseError
from kalshi_fills.pipeline.content import (
    CONTENT_FIELDS,
    Content,
    Difference,
    completed,
    content,
    contents,
    differences,
    digest,
    time_of,
)
from kalshi_fills.pipeline.fills import Fill, FillKey
from kalshi_fills.warehouse.client import Column, Warehouse
from kalshi_fills.warehouse.grants import granted_lines, missing_grants
from kalshi_fills.warehouse.statements import Tables
from kalshi_fills.warehouse.stored import FILL_COLUMNS, Stored, StoredFills

NO_UUID: Final = UUID(int=0)


_NULLABLE: Final = frozenset(("fee_dollars", "is_taker", "subaccount_number", "exchange_index"))
"""Columns of the content that have no value where the text is empty."""


_MAX_VERSION: Final = (1 << 64) - 1


_LOOKUP_SECONDS: Final = 60.0
"""How long to look up what an insert without an answer stored."""


_LOOKUP_WAIT_SECONDS: Final = 1.0


class _Row(NamedTuple):
    """A row to be written."""

    fill: Fill
    texts: Content
    digest: int
    version: int


class _Plan(NamedTuple):
    """What becomes of a block."""

    outcome: list[Written]
    new: list[_Row]
    corrected: list[_Row]
    """Rows that replace one of the same key."""
    moved: list[_Row]
    """Rows of which another stands under another ticker."""
    stale: list[tuple[FillKey, str]]
    """Fills, and the tickers under which they must not stand."""


class Written(NamedTuple):
    """What became of one fill of a block."""

    fill: Fill
    digest: int
    """The digest the table holds for it now."""
    before: int | None
    """The digest it held before; None if it held none."""
    differences: tuple[Difference, ...]
    """In what the stored row differed; empty if it was new, or known."""
    time_before: datetime | None = None
    """The event time the table held before, where the stored row was looked at."""


class FillTable:
    """The fills table as one run writes it; with `dry_run` it only looks up what it would do."""

    def __init__(
        self,
        warehouse: Warehouse,
        tables: Tables,
        run_id: UUID,
        started_at: datetime,
        dry_run: bool,
    ) -> None:
        self.warehouse = warehouse
        self.tables = tables
        self.stored = StoredFills(warehouse, tables)
        self._run_id = run_id
        self._version = int(started_at.timestamp() * 1_000_000)
        self._dry_run = dry_run
        self._was_empty: bool | None = None
        self._given_up = False

    def write(
        self, block: Mapping[FillKey, Fill], *, everywhere: bool = False, met_before: bool = False
    ) -> list[Written]:
        """Store a block: what is new or differs is written, what is known is left alone.

        A row that is replaced keeps its links, the operator's own columns, and what the exchange
        leaves out this time. After an insert whose answer never came, what is there is looked up
        before anything is sent again.

        Args:
            block: fills, each once.
            everywhere: look for rows under other tickers also where one stands under the right one;
                the cost of that grows with the table.
            met_before: this pass wrote these fills before, so that also a table that was empty
                when it began holds them.

        Raises:
            WarehouseError: the table could not be read or written, a row policy hides rows of it,
                or a row stands under another ticker and this user may not delete it; of that
                block nothing was written then.
        """
        plan = self._plan(block, everywhere, met_before)
        if not self._dry_run:
            if plan.stale:
                self._require_deleting()
            self._insert(plan.new, self._insert_new)
            self._insert(plan.corrected, self._insert_corrected)
            if plan.moved:
                self._move(plan.moved, plan.stale)
        return plan.outcome

    def give_up(self) -> None:
        """Make what another thread is writing fail at once, and write nothing from then on.

        Its fate stays unknown; the next run reads the same range again.
        """
        self._given_up = True
        self.warehouse.give_up()

    def _plan(self, block: Mapping[FillKey, Fill], everywhere: bool, met_before: bool) -> _Plan:
        plan = _Plan([], [], [], [], [])
        doubtful: dict[FillKey, tuple[Fill, int]] = {}
        new_table = self._is_empty() and not met_before
        stored = {} if new_table else self.stored.digests(block.values(), everywhere)
        texts_of_all = contents(list(block.values()))
        for (key, fill), texts in zip(block.items(), texts_of_all, strict=True):
            theirs = digest(texts)
            known = stored.get(key)
            if known is None:
                plan.outcome.append(Written(fill, theirs, None, ()))
                plan.new.append(_Row(fill, texts, theirs, self._version))
            elif known.digest == theirs and not known.care:
                plan.outcome.append(Written(fill, theirs, theirs, ()))
            else:
                doubtful[key] = (fill, known.digest)
        for key, row in self.stored.read_rows(doubtful).items():
            fill, before = doubtful[key]
            _plan_closer(plan, fill, row, before, self._version)
        return plan

    def _is_empty(self) -> bool:
        """Return whether the table had no row when this pass first wrote."""
        if self._was_empty is None:
            self._was_empty = self.stored.is_empty()
        return self._was_empty

    def _insert(self, rows: Sequence[_Row], send: Callable[[Sequence[_Row]], None]) -> None:
        deadline = time.monotonic() + _LOOKUP_SECONDS
        missing = rows
        while missing:
            try:
                send(missing)
                return
            except InsertUnknown:
                if self._given_up:
                    raise
                missing = self._not_there(rows, deadline)
                if missing and (self._given_up or time.monotonic() > deadline):
                    raise

    def _insert_new(self, rows: Sequence[_Row]) -> None:
        self.warehouse.insert_columns(self.tables.name(), self._columns(rows))

    def _insert_corrected(self, rows: Sequence[_Row]) -> None:
        statement = self.tables.sql(
            "sync/correct_fills", own_columns=list(self.stored.own_columns())
        )
        self.warehouse.insert_columns(self.tables.name(), self._columns(rows), statement)

    def _move(self, rows: Sequence[_Row], stale: Sequence[tuple[FillKey, str]]) -> None:
        """Write rows that stand under other tickers, and delete what stands there.

        A row without a hash comes first: a run that is cut short after it leaves a mark by which
        the next one finds the stale row.
        """
        self._insert([row._replace(digest=0) for row in rows], self._insert_corrected)
        self._delete_under_other_tickers(stale)
        after = [row._replace(version=min(row.version + 1, _MAX_VERSION)) for row in rows]
        self._insert(after, self._insert_corrected)

    def _require_deleting(self) -> None:
        """Raise if this user may not delete the rows that stand under another ticker."""
        try:
            granted = granted_lines(self.warehouse, self.tables)
        except WarehouseError:
            return  # an engine without users has no grants to miss
        database, table = self.tables.database, self.tables.fills
        if missing_grants(granted, ("ALTER DELETE",), database, table, followers=False):
            raise WarehouseError(
                f"fills of {database}.{table} stand under another ticker than the exchange's, and "
                "this ClickHouse user may not delete rows there",
                hint="none of them was changed; as an administrator run: "
                f"GRANT ALTER DELETE ON {self.tables.name()} TO its_name",
            )

    def _not_there(self, rows: Sequence[_Row], deadline: float) -> list[_Row]:
        """Look up which of the rows an insert of unknown fate left out."""
        while True:
            time.sleep(_LOOKUP_WAIT_SECONDS)
            try:
                there = self.stored.digests([row.fill for row in rows])
            except WarehouseError:
                if self._given_up or time.monotonic() > deadline:
                    raise
                continue
            return [
                row
                for row in rows
                if row.fill.key not in there or there[row.fill.key].version < row.version
            ]

    def _delete_under_other_tickers(self, stale: Sequence[tuple[FillKey, str]]) -> None:
        self.warehouse.command(
            self.tables.sql("sync/delete_under_other_tickers"),
            {
                "fill_ids": [key.fill_id for key, _ in stale],
                "order_ids": [key.order_id for key, _ in stale],
                "tickers": [ticker for _, ticker in stale],
            },
        )

    def _columns(self, rows: Sequence[_Row]) -> list[Column]:
        """Lay rows out as columns: what is digested, as the very texts that were digested."""
        fills, texts, digests, versions = zip(*rows, strict=True)
        values: dict[str, Sequence[object]] = dict(
            zip(CONTENT_FIELDS, zip(*texts, strict=True), strict=True)
        )
        for name in _NULLABLE:
            values[name] = [text or None for text in values[name]]
        values |= {
            "id_synthetic": ["true" if fill.id_synthetic else "false" for fill in fills],
            "source": [fill.source for fill in fills],
            "run_id": [str(self._run_id)] * len(rows),
            "content_hash": list(map(str, digests)),
            "raw_json": [fill.raw_json for fill in fills],
            "version": list(map(str, versions)),
            "client_order_id": [fill.client_order_id for fill in fills],
        }
        return [
            Column(name, "Nullable(String)" if name in _NULLABLE else "String", values[name])
            for name in FILL_COLUMNS
            if name in values
        ]


def _plan_closer(plan: _Plan, fill: Fill, stored: Stored, before: int, version: int) -> None:
    """Plan for a fill of which the table holds something that may differ."""
    found = _differing(stored, content(fill))
    if stored.links_lost:
        found.append(Difference("links", "", "kept from the engine's own row"))
    complete = completed(fill, stored.content)
    texts = content(complete)
    now = digest(texts)
    elsewhere = [ticker for ticker in stored.tickers if ticker != complete.ticker]
    plan.stale.extend((fill.key, ticker) for ticker in elsewhere)
    if elsewhere and not found:
        found.append(Difference("market_ticker", elsewhere[0], complete.ticker))
    if stored.undefined and not found:
        found.append(Difference("version", "several rows of the same", "one row"))
    if not found and now != before:
        found = [Difference("content", f"{before:016x}", f"{now:016x}")]
    if found or stored.unfinished:
        row = _Row(complete, texts, now, min(max(version, stored.version + 1), _MAX_VERSION))
        (plan.moved if elsewhere else plan.corrected).append(row)
    plan.outcome.append(Written(complete, now, before, tuple(found), time_of(stored.content)))


def _differing(stored: Stored, theirs: Content) -> list[Difference]:
    """Return in what the exchange's content differs from the table's.

    Where that is undefined, from the first of those it may be that differs at all.
    """
    return next(filter(None, (differences(one, theirs) for one in stored.contents)), [])
