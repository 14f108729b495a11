"""The account's tables as one run uses them together; each rule is in the module of its table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from kalshi_fills.pipeline.batch import Batch
from kalshi_fills.pipeline.fills import Content, FillKey
from kalshi_fills.pipeline.seen import HourDigest
from kalshi_fills.warehouse.client import Warehouse, select
from kalshi_fills.warehouse.fills import FillTable, WriteOutcome
from kalshi_fills.warehouse.quarantine import Claim, Quarantine, Refused
from kalshi_fills.warehouse.runs import Run, RunLedger, Unfinished, table_state
from kalshi_fills.warehouse.settlements import SettlementTable
from kalshi_fills.warehouse.standing import Standing, TableChanges, TableState
from kalshi_fills.warehouse.statements import Tables
from kalshi_fills.warehouse.stored import Stored


class _Subaccount(NamedTuple):
    subaccount_number: int


class FillStore:
    """Fills, quarantine and ledger of one run. With `dry_run` it reads as ever and writes nothing.

    After `give_up` it writes nothing either.
    """

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
        self.fills = FillTable(warehouse, tables, run_id, started_at, dry_run)
        self.stored = self.fills.stored
        self.settlements = SettlementTable(warehouse, tables, run_id, started_at, dry_run)
        self._quarantine = Quarantine(warehouse, tables, run_id)
        self.runs = RunLedger(warehouse, tables, run_id)
        self._dry_run = dry_run
        self._given_up = False

    def write(
        self, batch: Batch, *, everywhere: bool = False, met_before: bool = False
    ) -> WriteOutcome:
        """Store a batch of fills, as `FillTable.write` does."""
        return self.fills.write(batch, everywhere=everywhere, met_before=met_before)

    def give_up(self) -> None:
        """Make what another thread is writing fail at once, and write nothing from then on."""
        self._given_up = True
        self.fills.give_up()

    def hours(
        self, start: datetime | None, end: datetime, fills: int = 0
    ) -> dict[datetime, HourDigest]:
        """Return count and digest of the stored fills of a window, by hour."""
        return self.stored.hours(start, end, fills)

    def rows_between(self, start: datetime, end: datetime) -> list[Content]:
        """Return the contents of the stored fills of a range."""
        return self.stored.rows_between(start, end)

    def read_rows(self, keys: Iterable[FillKey]) -> dict[FillKey, Stored]:
        """Return everything the table holds of these fills."""
        return self.stored.read_rows(keys)

    def keys_of(self, fill_ids: Sequence[str], since: datetime) -> list[FillKey]:
        """Return the stored fills with one of these ids, of a time from which on to look."""
        return self.stored.keys_of(fill_ids, since)

    def payloads(self, keys: Iterable[FillKey]) -> list[str]:
        """Return the payloads of the rows that count of these fills."""
        return self.stored.payloads(keys)

    def require_every_row(self) -> None:
        """Raise if a row policy hides rows of the table from this user."""
        self.stored.require_every_row()

    def subaccounts(self) -> list[int]:
        """Return the subaccounts that have fills in the table."""
        statement = self.tables.sql("reconcile/subaccounts")
        return [row.subaccount_number for row in select(self.warehouse, _Subaccount, statement)]

    def quarantine(self, rejected: Sequence[Refused], seen_at: datetime) -> None:
        """Keep refused items as they came."""
        if not self._dry_run:
            self._quarantine.keep(rejected, seen_at)

    def accepted(self, rejected: Sequence[Refused]) -> set[str]:
        """Return the fingerprints among these that are accepted."""
        return self._quarantine.accepted(rejected)

    def accept_rejected(self, *, all_of_this_run: bool = False) -> None:
        """Accept what is in quarantine and costs an exit code."""
        if not self._dry_run:
            self._quarantine.accept(all_of_this_run=all_of_this_run)

    def open_claims(self) -> Iterator[list[Claim]]:
        """Yield, page by page, the claims that are not accepted."""
        return self._quarantine.open_claims()

    def close_claims(self, fingerprints: Sequence[str]) -> None:
        """Accept these claims: their fills are stored."""
        self._quarantine.close_claims(fingerprints)

    def contradicted(self) -> list[str]:
        """Return the payloads in quarantine that contradict another report of their fill."""
        return self._quarantine.contradicted()

    def last_watermark(self) -> datetime | None:
        """Return the watermark of the last finished run, None if there is none."""
        return self.runs.last_watermark()

    def latest_entry(self) -> datetime:
        """Return the time of the latest entry in the ledger; 1970 if there is none."""
        return self.runs.latest_entry()

    def standing(self, key_digest: str) -> Standing:
        """Return what the ledger keeps for a key, later rewinds taken into account."""
        return self.runs.standing(key_digest)

    def table_changes(self, since: datetime) -> TableChanges:
        """Return what truncate and migrate did to the fills table after a moment."""
        return self.runs.table_changes(since)

    def table_state(self, expected: int | None) -> TableState:
        """Return which table the fills table is, and how many rows it has."""
        return table_state(self.warehouse, self.tables, expected)

    def table_change(self) -> str:
        """Return how the table differs from what the ledger records; empty if it does not."""
        return self.runs.table_change()

    def rewind(
        self,
        watermark: datetime | None,
        why: str,
        now: datetime,
        table: TableState | None = None,
    ) -> None:
        """Set the watermark back by an entry of its own, written later than every other."""
        if not self._dry_run and not self._given_up:
            self.runs.rewind(watermark, why, now, table)

    def note_rebuild(self, table: TableState, now: datetime) -> None:
        """Record that the fills table was rebuilt, if every fill of the runs before is in it."""
        if not self._dry_run and not self._given_up:
            self.runs.note_rebuild(table, now)

    def unfinished(self) -> list[Unfinished]:
        """Return the runs, of any host, that have not recorded how they ended, oldest first."""
        return self.runs.unfinished()

    def record(self, run: Run, recorded_at: datetime) -> None:
        """Write the run's row into the ledger; the latest one counts."""
        if not self._dry_run and not self._given_up:
            self.runs.record(run, recorded_at)
