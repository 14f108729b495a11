"""The ledger of runs, and the watermark that counts by its entries.

Which watermark counts for a run is decided in `standing`, from what is read here.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from kalshi_fills import __version__
from kalshi_fills.errors import WarehouseError
from kalshi_fills.pipeline.content import Difference
from kalshi_fills.pipeline.fills import Fill
from kalshi_fills.pipeline.stages import Counts
from kalshi_fills.warehouse.client import Warehouse, in_utc, select, select_one
from kalshi_fills.warehouse.standing import SettlementsRead, Standing, TableChanges, TableState
from kalshi_fills.warehouse.statements import Tables
from kalshi_fills.warehouse.there import declared_columns

_MAX_LISTED_CORRECTIONS: Final = 100

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

LATER_COLUMNS: Final = (
    "environment",
    "key_digest",
    "settlements_watermark",
    "settlements_subaccounts",
    "settlements_held",
    "table_identity",
    "fills_held",
    "open_breaks",
    "open_breaks_listed",
    "notes",
)
"""Columns of the ledger that an earlier version did not have."""


@dataclass(slots=True)
class Corrections:
    """Which fields of stored rows the exchange corrected, and the first of them in full."""

    by_field: dict[str, int] = field(default_factory=dict)
    listed: list[dict[str, str]] = field(default_factory=list)

    def add(self, fill: Fill, found: Iterable[Difference]) -> None:
        """Note one corrected fill."""
        for difference in found:
            name = difference.field
            self.by_field[name] = self.by_field.get(name, 0) + 1
            if len(self.listed) < _MAX_LISTED_CORRECTIONS:
                self.listed.append(
                    {
                        "fill_id": fill.key.fill_id,
                        "order_id": fill.key.order_id,
                        "field": name,
                        "table": difference.stored,
                        "exchange": difference.reported,
                    }
                )

    def as_json(self) -> str:
        """Return them as the run ledger keeps them, empty if there are none."""
        if not self.by_field:
            return ""
        return json.dumps({"by_field": self.by_field, "first": self.listed}, sort_keys=True)


class Run(NamedTuple):
    """One row of the run ledger."""

    run_id: UUID
    status: str
    started_at: datetime
    finished_at: datetime | None
    window_start: datetime | None
    window_end: datetime
    watermark: datetime | None
    counts: Counts
    host: str
    pid: int
    error: str = ""
    corrections: str = ""
    environment: str = ""
    key_digest: str = ""
    """Empty in the entries of truncate and migrate, which are runs of no key."""
    table_identity: str = ""
    """Of the fills table; empty where it is not known, or about to change."""
    fills_held: int = 0
    """Fills that the table held at least."""
    open_breaks: int = 0
    open_breaks_listed: str = ""
    notes: Sequence[str] = ()
    settlements: SettlementsRead = SettlementsRead()


class Unfinished(NamedTuple):
    """A run that the ledger still calls running."""

    run_id: UUID
    host: str
    pid: int
    started_at: datetime
    window_start: datetime | None
    window_end: datetime
    recorded_at: datetime


class _Environment(NamedTuple):
    name: str


class _LastRun(NamedTuple):
    run_id: UUID
    watermark: datetime | None
    finished_at: datetime | None


class _Moment(NamedTuple):
    moment: datetime


class _Key(NamedTuple):
    key_digest: str


class _RowCount(NamedTuple):
    rows: int


class _Identity(NamedTuple):
    engine: str
    identity: str


class _Path(NamedTuple):
    path: str


class _StandingRow(NamedTuple):
    """What the ledger keeps of one key; 1970 stands for no moment."""

    own_runs: int
    own_recorded_at: datetime
    own_watermark: datetime
    own_identity: str
    own_fills_held: int
    last_environment: str
    runs_of_others: int
    runs_without_key: int
    last_open_breaks: str
    own_settlements_watermark: datetime
    own_settlements_subaccounts: Sequence[int]
    own_settlements_held: int


class _ChangesRow(NamedTuple):
    """What truncate and migrate did to the fills table since a moment."""

    entries: int
    rewinds: int
    rewinds_to_none: int
    earliest: datetime | None
    last_identity: str
    least_fills_held: int


def ledger_has_columns(warehouse: Warehouse, tables: Tables) -> bool:
    """Return whether there is a ledger of runs with every column of this version."""
    found = declared_columns(warehouse, tables, "_runs")
    return set(LATER_COLUMNS) <= {column.name for column in found}


def last_environment(warehouse: Warehouse, tables: Tables) -> str:
    """Return the environment of the table's last finished run; empty where none recorded it."""
    if not ledger_has_columns(warehouse, tables):
        return ""
    found = select_one(warehouse, _Environment, tables.sql("sync/last_environment"))
    return "" if found is None else found.name


def table_state(warehouse: Warehouse, tables: Tables, expected: int | None) -> TableState:
    """Return which table the fills table is, and how many rows it has.

    Where there are as many as expected nothing is read for that. Where there are more, another
    writer may have filled up what somebody removed: its rows are not counted then. None expects
    any number.
    """
    place = {"database": tables.database, "table": tables.fills}
    found = select_one(warehouse, _Identity, tables.sql("sync/table_identity"), place)
    identity = "" if found is None else found.identity
    if found is not None and found.engine.startswith("Replicated"):
        with contextlib.suppress(WarehouseError):  # not every user may look there
            path = select_one(warehouse, _Path, tables.sql("sync/replicated_path"), place)
            identity = identity if path is None else path.path
    counted = tables.sql("schema/count_rows", suffixes={"__counted": ""})
    rows = all_rows = _count(warehouse, counted)
    if expected is not None and rows > expected:
        with contextlib.suppress(WarehouseError):  # a table of old does not know who wrote
            rows = _count(warehouse, tables.sql("sync/count_synced"))
    return TableState(identity, rows, all_rows)


def _moment(stored: datetime) -> datetime | None:
    moment = in_utc(stored)
    return moment if moment > _EPOCH else None


def _count(warehouse: Warehouse, sql: str) -> int:
    found = select_one(warehouse, _RowCount, sql)
    return 0 if found is None else found.rows


class RunLedger:
    """The ledger as one run uses it; its own entries bear the run's id."""

    def __init__(self, warehouse: Warehouse, tables: Tables, run_id: UUID) -> None:
        self._warehouse = warehouse
        self._tables = tables
        self._run_id = run_id
        self._has_columns: bool | None = None

    def last_watermark(self) -> datetime | None:
        """Return the watermark of the last finished run, None if there is none."""
        found = select_one(self._warehouse, _LastRun, self._tables.sql("sync/last_run"))
        if found is None or found.watermark is None:
            return None
        return in_utc(found.watermark)

    def latest_entry(self) -> datetime:
        """Return the time of the latest entry; 1970 if there is none."""
        found = select_one(self._warehouse, _Moment, self._tables.sql("sync/latest_entry"))
        return _EPOCH if found is None else in_utc(found.moment)

    def standing(self, key_digest: str) -> Standing:
        """Return what the ledger keeps for a key, later rewinds taken into account."""
        statement = self._tables.sql("sync/standing")
        found = select_one(self._warehouse, _StandingRow, statement, {"key": key_digest})
        assert found is not None, "an aggregate without GROUP BY has one row"
        known = Standing(
            found.own_runs > 0,
            _moment(found.own_watermark),
            found.own_identity,
            found.own_fills_held,
            found.last_environment,
            found.runs_of_others,
            found.runs_without_key,
            found.last_open_breaks,
            SettlementsRead(
                _moment(found.own_settlements_watermark),
                tuple(found.own_settlements_subaccounts),
                found.own_settlements_held,
            ),
        )
        if not found.own_runs:
            return known
        changes = self.table_changes(in_utc(found.own_recorded_at))
        if not changes.entries:
            return known
        return known._replace(
            watermark=changes.cap(known.watermark),
            identity=changes.identity,
            fills_held=min(known.fills_held, changes.fills_held),
        )

    def table_changes(self, since: datetime) -> TableChanges:
        """Return what truncate and migrate did to the fills table after a moment."""
        statement = self._tables.sql("sync/table_changes")
        found = select_one(self._warehouse, _ChangesRow, statement, {"since": since})
        assert found is not None, "an aggregate without GROUP BY has one row"
        return TableChanges(
            found.entries,
            found.rewinds,
            found.rewinds_to_none > 0,
            in_utc(found.earliest) if found.rewinds and found.earliest is not None else None,
            found.last_identity,
            found.least_fills_held,
        )

    def table_change(self) -> str:
        """Return how the table differs from what the ledger says for any key; empty if it does not.

        Whoever replaces the table on purpose asks first, so that an earlier change that no sync has
        noticed yet is not covered up.
        """
        if not self._ledger_has_columns():
            return ""
        for key_digest in self._keys():
            standing = self.standing(key_digest)
            if standing.watermark is None:
                continue
            state = table_state(self._warehouse, self._tables, standing.fills_held)
            if why := standing.table_change(state):
                return why
        return ""

    def _keys(self) -> list[str]:
        found = select(self._warehouse, _Key, self._tables.sql("sync/keys"))
        return [row.key_digest for row in found]

    def rewind(
        self,
        watermark: datetime | None,
        why: str,
        now: datetime,
        table: TableState | None = None,
    ) -> None:
        """Set the watermark back by an entry of its own, written later than every other.

        Args:
            watermark: to where; None to have everything read again.
            why: the reason, never empty: it is what marks such an entry.
            now: the clock.
            table: which table is there now, and the fills it holds; None while that changes.
        """
        self._note_table(watermark, why, now, table or TableState("", 0))

    def note_rebuild(self, table: TableState, now: datetime) -> None:
        """Record that the fills table was rebuilt, if every fill of the runs before is in it."""
        if not self._ledger_has_columns():
            return
        counts = [self.standing(key_digest).fills_held for key_digest in self._keys()]
        if table.identity and counts and table.rows >= max(counts):
            mark = self.last_watermark()
            self._note_table(mark, "", now, table, ("migrate rebuilt the fills table",))

    def _note_table(
        self,
        watermark: datetime | None,
        why: str,
        now: datetime,
        table: TableState,
        notes: Sequence[str] = (),
    ) -> None:
        run = Run(
            self._run_id,
            "done",
            now,
            now,
            None,
            now,
            watermark,
            Counts(),
            socket.gethostname(),
            os.getpid(),
            why,
            table_identity=table.identity,
            fills_held=table.rows,
            notes=notes,
        )
        self.record(run, max(now, self.latest_entry() + timedelta(microseconds=1)))

    def unfinished(self) -> list[Unfinished]:
        """Return the runs, of any host, that have not recorded how they ended, oldest first."""
        return select(self._warehouse, Unfinished, self._tables.sql("sync/unfinished_runs"))

    def record(self, run: Run, recorded_at: datetime) -> None:
        """Write the run's row into the ledger; the latest one counts."""
        facts: dict[str, object] = {
            **run._asdict(),
            **run.counts.as_dict(),
            "tool_version": __version__,
            "recorded_at": recorded_at,
        }
        del facts["counts"], facts["settlements"]
        facts["settlements_watermark"] = run.settlements.watermark
        facts["settlements_subaccounts"] = list(run.settlements.subaccounts)
        facts["settlements_held"] = run.settlements.held
        facts["notes"] = list(run.notes)
        if not self._ledger_has_columns():  # truncate also works before migrate
            for name in LATER_COLUMNS:
                del facts[name]
        self._warehouse.insert(self._tables.name("_runs"), list(facts), [list(facts.values())])

    def _ledger_has_columns(self) -> bool:
        """Return whether the ledger has the columns of this version."""
        if self._has_columns is None:
            self._has_columns = ledger_has_columns(self._warehouse, self._tables)
        return self._has_columns
