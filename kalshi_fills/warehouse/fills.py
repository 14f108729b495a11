"""Writing fills: what is new or differs from what the table holds, and nothing else.

It decides nothing about what a fill is; it knows columns, versions and links.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID, uuid4

from kalshi_fills.errors import InsertUnknown, WarehouseError
from kalshi_fills.pipeline.batch import TERMS, UNIT_SEPARATOR, Batch
from kalshi_fills.pipeline.content import Difference, completed, differences, digest
from kalshi_fills.pipeline.fills import Content, Fill, FillKey
from kalshi_fills.warehouse.client import Warehouse
from kalshi_fills.warehouse.grants import granted_lines, missing_grants
from kalshi_fills.warehouse.statements import Tables
from kalshi_fills.warehouse.stored import Stored, StoredFills

NO_UUID: Final = UUID(int=0)


_MAX_VERSION: Final = (1 << 64) - 1


_LOOKUP_SECONDS: Final = 60.0
"""How long to look up what an insert without an answer stored."""


_LOOKUP_WAIT_SECONDS: Final = 1.0


class Written(NamedTuple):
    """What became of one fill of which the table held something that needed a closer look."""

    fill: Fill
    """As the table holds it now."""
    digest: int
    """The digest the table holds for it now."""
    before: int
    """The digest it held before."""
    time_before: datetime
    """The event time it held before."""
    differences: tuple[Difference, ...]
    """In what the stored row differed; empty if it was known."""


class WriteOutcome(NamedTuple):
    """What became of the fills of a batch; each is counted or listed once."""

    n_new: int
    n_known: int
    as_sent: Batch
    """The new and the known ones: the table holds them as the exchange sent them."""
    looked_at: list[Written]


class _Row(NamedTuple):
    """A row that replaces others of its fill."""

    fill: Fill
    version: int


class _Plan(NamedTuple):
    """What becomes of a batch."""

    outcome: WriteOutcome
    new: Batch
    corrected: list[_Row]
    """Rows that replace one of the same key."""
    moved: list[_Row]
    """Rows of which another stands under another ticker."""
    stale: list[tuple[FillKey, str]]
    """Fills, and the tickers under which they must not stand."""


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
        self, batch: Batch, *, everywhere: bool = False, met_before: bool = False
    ) -> WriteOutcome:
        """Store a batch: what is new or differs is written, what is known is left alone.

        A row that is replaced keeps its links, the operator's own columns, and what the exchange
        leaves out this time. After an insert whose answer never came, what is there is looked up
        before anything is sent again.

        Args:
            batch: fills, each once.
            everywhere: look for rows under other tickers also where one stands under the right one;
                the cost of that grows with the table.
            met_before: this pass wrote these fills before, so that also a table that was empty
                when it began holds them.

        Raises:
            WarehouseError: the table could not be read or written, a row policy hides rows of it,
                or a row stands under another ticker and this user may not delete it; of that
                batch nothing was written then.
        """
        if not len(batch):
            return WriteOutcome(0, 0, batch, [])
        plan = self._plan(batch, everywhere, met_before)
        if not self._dry_run:
            if plan.stale:
                self._require_deleting()
            versions = [self._version] * len(plan.new)
            self._insert(plan.new, versions, "sync/insert_fills")
            self._insert_corrected(plan.corrected)
            if plan.moved:
                self._move(plan.moved, plan.stale)
        return plan.outcome

    def give_up(self) -> None:
        """Make what another thread is writing fail at once, and write nothing from then on.

        Its fate stays unknown; the next run reads the same range again.
        """
        self._given_up = True
        self.warehouse.give_up()

    def _plan(self, batch: Batch, everywhere: bool, met_before: bool) -> _Plan:
        if self._is_empty() and not met_before:
            return _Plan(WriteOutcome(len(batch), 0, batch, []), batch, [], [], [])
        stored = self.stored.digests(batch, everywhere)
        new: list[int] = []
        doubtful: dict[FillKey, int] = {}
        for position, theirs in enumerate(batch.digest):
            key = batch.key(position)
            known = stored.get(key)
            if known is None:
                new.append(position)
            elif known.digest != theirs or known.care:
                doubtful[key] = position
        as_sent = batch.without(set(doubtful.values())) if doubtful else batch
        outcome = WriteOutcome(len(new), len(as_sent) - len(new), as_sent, [])
        plan = _Plan(outcome, batch.at(new), [], [], [])
        rows = self.stored.read_rows(doubtful)
        for key, position in doubtful.items():
            if key in rows:
                fill, before = batch.fill(position), stored[key].digest
                _plan_closer(plan, fill, rows[key], before, self._version)
        return plan

    def _is_empty(self) -> bool:
        """Return whether the table had no row when this pass first wrote."""
        if self._was_empty is None:
            self._was_empty = self.stored.is_empty()
        return self._was_empty

    def _insert(
        self, batch: Batch, versions: Sequence[int], statement: str, *, finished: bool = True
    ) -> None:
        """Insert rows, and look up what is there after an insert whose answer never came.

        Args:
            batch: the rows.
            versions: of each row.
            statement: the file of the statement that inserts them.
            finished: the rows get their hash: no other step of their correction follows.
        """
        deadline = time.monotonic() + _LOOKUP_SECONDS
        text = self.tables.sql(statement, own_columns=self._own_columns(statement))
        left: Sequence[int] = range(len(batch))
        while left:
            rows = batch if len(left) == len(batch) else batch.at(left)
            chosen = [versions[place] for place in left]
            separator = _separator(rows)
            params = {"run_id": self._run_id, "separator": separator}
            try:
                lines = _lines(rows, chosen, separator, finished)
                self.warehouse.insert_lines(lines, rows.raw_json, text, params)
                return
            except InsertUnknown:
                if self._given_up:
                    raise
                left = self._not_there(batch, versions, deadline)
                if left and (self._given_up or time.monotonic() > deadline):
                    raise

    def _insert_corrected(self, rows: Sequence[_Row], *, finished: bool = True) -> None:
        batch = Batch.of(row.fill for row in rows)
        versions = [row.version for row in rows]
        self._insert(batch, versions, "sync/correct_fills", finished=finished)

    def _own_columns(self, statement: str) -> list[str]:
        return list(self.stored.own_columns()) if statement == "sync/correct_fills" else []

    def _move(self, rows: Sequence[_Row], stale: Sequence[tuple[FillKey, str]]) -> None:
        """Write rows that stand under other tickers, and delete what stands there.

        A row without a hash comes first: a run that is cut short after it leaves a mark by which
        the next one finds the stale row.
        """
        self._insert_corrected(rows, finished=False)
        self._delete_under_other_tickers(stale)
        self._insert_corrected(
            [row._replace(version=min(row.version + 1, _MAX_VERSION)) for row in rows]
        )

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

    def _not_there(self, batch: Batch, versions: Sequence[int], deadline: float) -> list[int]:
        """Return the positions of the rows that an insert of unknown fate left out."""
        while True:
            time.sleep(_LOOKUP_WAIT_SECONDS)
            try:
                there = self.stored.digests(batch)
            except WarehouseError:
                if self._given_up or time.monotonic() > deadline:
                    raise
                continue
            found = [there.get(batch.key(position)) for position in range(len(batch))]
            return [
                position
                for position, (known, version) in enumerate(zip(found, versions, strict=True))
                if known is None or known.version < version
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


def _separator(batch: Batch) -> str:
    """Return a text that no text of the batch holds."""
    separator, action = UNIT_SEPARATOR, TERMS.index("action")
    while any(
        separator in "".join(column)
        for column in (
            batch.fill_id,
            batch.exchange_order_id,
            batch.market_ticker,
            {terms.texts[action] for terms in batch.terms},
            batch.client_order_id,
        )
    ):
        separator = uuid4().hex
    return separator


def _lines(batch: Batch, versions: Sequence[int], separator: str, finished: bool) -> list[str]:
    """Return rows as they travel to the engine beside their payloads.

    See `queries/fragments/block_fills.sql`.
    """
    if separator == UNIT_SEPARATOR:
        terms = [one.joined for one in batch.terms]
        flags = [one.joined for one in batch.flags]
    else:
        terms = [separator.join(one.written) for one in batch.terms]
        flags = [separator.join(one.written) for one in batch.flags]
    columns: tuple[Iterable[str], ...] = (
        batch.ts,
        batch.fill_id,
        batch.exchange_order_id,
        batch.market_ticker,
        terms,
        batch.size,
        batch.fee_dollars,
        flags,
        batch.id_synthetic,
        batch.source,
        map(str, batch.digest) if finished else ["0"] * len(batch),
        map(str, versions),
        batch.client_order_id,
    )
    return list(map(separator.join, zip(*columns, strict=True)))


def _plan_closer(plan: _Plan, fill: Fill, stored: Stored, before: int, version: int) -> None:
    """Plan for a fill of which the table holds something that may differ."""
    found = _differing(stored, fill.content)
    if stored.links_lost:
        found.append(Difference("links", "", "kept from the engine's own row"))
    complete = completed(fill, stored.content)
    now = digest(complete.content)
    ticker = complete.content.market_ticker
    elsewhere = [one for one in stored.tickers if one != ticker]
    plan.stale.extend((fill.key, one) for one in elsewhere)
    if elsewhere and not found:
        found.append(Difference("market_ticker", elsewhere[0], ticker))
    if stored.undefined and not found:
        found.append(Difference("version", "several rows of the same", "one row"))
    if not found and now != before:
        found = [Difference("content", f"{before:016x}", f"{now:016x}")]
    if found or stored.unfinished:
        row = _Row(complete, min(max(version, stored.version + 1), _MAX_VERSION))
        (plan.moved if elsewhere else plan.corrected).append(row)
    moment = stored.content.moment
    plan.outcome.looked_at.append(Written(complete, now, before, moment, tuple(found)))


def _differing(stored: Stored, theirs: Content) -> list[Difference]:
    """Return in what the exchange's content differs from the table's.

    Where that is undefined, from the first of those it may be that differs at all.
    """
    return next(filter(None, (differences(one, theirs) for one in stored.contents)), [])
