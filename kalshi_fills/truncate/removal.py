"""Removing some rows of the fills table: what stays is copied into a new one, put in its place.

Every row is judged once, and the verdicts are kept in a table until the end. A removal makes up to
three tables beside the fills table. The name of the new one holds the identity of the table that it
replaces, so that the next run sees how far a killed one came:

    there                         what it is               what is done
    ----------------------------  -----------------------  ---------------------------------------
    verdicts                      killed at the start      drop them
    new table that names the      killed before exchange   drop it: it holds copies only
    identity of the fills table
    table that names its own      killed after exchange    it is the old one: copy late rows, keep
    identity                                               what was removed as a backup, drop it
    table that names another,     changed by somebody      keep all of it as a backup
    or has other columns

The exchange is the atomic moment. The old table is dropped only when each of its rows was found in
the fills table or in the backup; else it is itself the backup.
"""

from __future__ import annotations

import logging
import re
from datetime import datetime
from typing import Final, NamedTuple

from kalshi_fills.errors import SchemaError, WarehouseError
from kalshi_fills.pipeline.fills import CLOCK_TOLERANCE
from kalshi_fills.truncate.names import backup_suffix
from kalshi_fills.warehouse.client import Warehouse, select, select_one
from kalshi_fills.warehouse.gathering import create_replicated_like
from kalshi_fills.warehouse.in_flight import wait_for_inserts
from kalshi_fills.warehouse.ownership import Table, is_fills_table
from kalshi_fills.warehouse.replicas import wait_for_replicas
from kalshi_fills.warehouse.schema import own_columns
from kalshi_fills.warehouse.statements import Tables
from kalshi_fills.warehouse.there import columns, tables_there

log = logging.getLogger(__name__)


REPAIRED: Final = "mended"
"""Verdict on a fill whose id is in its payload alone: it stays, under that id. A removal that an
earlier version began may have stored it, so that the word stays as it is."""

REPEAT: Final = "repeat"
"""Verdict on a row of a fill that stays in another row."""

_PREFIX: Final = "__truncate_"

_WORK: Final = re.compile(
    rf"{_PREFIX}(\d{{8}}T\d{{6}}Z)_([0-9a-f]{{16}}|verdicts|removed)"
).fullmatch

TOO_LARGE_TO_DROP: Final = 359
"""ClickHouse's code for a table that its settings guard against being dropped."""


class VerdictCount(NamedTuple):
    """How many rows have one verdict."""

    reason: str
    rows: int
    oldest: datetime
    from_exchange: int
    """How many of them a sync wrote."""


class Criterion(NamedTuple):
    """Which rows go: those that are older than a moment, or else garbage."""

    before: datetime | None = None

    @property
    def name(self) -> str:
        """How the statements that apply it are named."""
        return "garbage" if self.before is None else "older"

    def params(self, now: datetime) -> dict[str, object]:
        """Return the parameters of those statements."""
        if self.before is None:
            return {"latest": now + CLOCK_TOLERANCE}
        return {"before": self.before}


class RemovalResult(NamedTuple):
    """What became of the rows that a removal took out of the table."""

    backup: str | None
    """The table that holds them; None if they are gone, or none were removed."""
    holds_all_rows: bool = False
    """The backup is the entire old table, including the rows that stayed."""


class _RowCount(NamedTuple):
    rows: int


class PartialRemoval:
    """One removal of some rows, known by the stamp of the run that began it."""

    def __init__(self, warehouse: Warehouse, tables: Tables, stamp: str, target: str) -> None:
        """Prepare a removal; nothing is changed.

        Args:
            warehouse: where the tables are.
            tables: their names.
            stamp: when it began, as in the name of its backup.
            target: the beginning of the identity of the table to be replaced.
        """
        self._warehouse = warehouse
        self._tables = tables
        self.name = f"{tables.fills}{_PREFIX}{stamp}"
        """The beginning of the names of its tables."""
        self._beside = f"{_PREFIX}{stamp}_{target}"
        self._verdicts = f"{_PREFIX}{stamp}_verdicts"
        self._removed = f"{_PREFIX}{stamp}_removed"
        self._backup = backup_suffix(stamp)
        self._own = own_columns(warehouse, tables)

    def judge(self, criterion: Criterion, now: datetime) -> list[VerdictCount]:
        """Record a verdict on every row, and count what is removed and repaired, by reason."""
        self._command("truncate/create_verdicts")
        self._command(f"truncate/judge_{criterion.name}", params=criterion.params(now))
        self._log_step("judged")
        return select(self._warehouse, VerdictCount, self._sql("truncate/count_judged"))

    def exchange(self) -> None:
        """Copy what stays into a new table, and put it in the old one's place, atomically."""
        create_like(self._warehouse, self._tables, self._beside)
        self._copy("", self._beside, going=False)
        self._command("truncate/mend_ids", {"__from": "", "__to": self._beside})
        wait_for_replicas(self._warehouse, self._tables, suffixes=(self._beside,))
        self._log_step("copied")
        self._command("schema/exchange", {"__new": self._beside, "__old": ""})
        self._log_step("exchanged")

    def finish(self, *, keep: bool) -> RemovalResult:
        """Copy the rows that came late, keep what was removed, and drop the old table.

        Args:
            keep: whether what was removed is to be a backup.
        """
        wait_for_inserts(self._warehouse, self._tables)
        there = tables_there(self._warehouse, self._tables)
        if there[self._beside].engine.startswith("Replicated"):
            self._command("schema/sync_replica", {"__replica": self._beside})
        self._command("truncate/copy_late", {"__from": self._beside})
        self._log_step("late rows copied")
        if not keep:
            return self._destroy()
        if self._backup not in there:
            if self._removed in there:  # half a copy of a run that was killed
                self._drop_copy(self._removed)
            create_like(self._warehouse, self._tables, self._removed)
            self._copy(self._beside, self._removed, going=True)
            self._log_step("removed rows copied")
            if self._unaccounted(self._removed):
                self._drop_copy(self._removed)
                return self._keep_entirely()
            if self._is_empty(self._removed):  # all of it was repaired, and stays
                self._drop_copy(self._removed)
            else:
                self._command("schema/keep_aside", {"__old": self._removed, "__kept": self._backup})
                self._log_step("backup kept")
        self._drop_copy(self._beside)
        self._log_step("old table dropped")
        self._drop_copy(self._verdicts)
        is_there = self._backup in tables_there(self._warehouse, self._tables)
        return RemovalResult(self._tables.fills + self._backup if is_there else None)

    def undo(self) -> None:
        """Undo what was done before the exchange, when nothing but copies has been made."""
        self._drop_copy(self._beside)
        self._drop_copy(self._verdicts)

    def resume(self) -> RemovalResult | None:
        """Finish or undo what a killed run left of this removal.

        Returns:
            What became of the removed rows; None if the removal was undone.
        """
        if self._tables.cluster:
            # A host runs these in order: after this one it has also run those of the killed run.
            self._drop_copy(f"{_PREFIX}nothing")
        there = tables_there(self._warehouse, self._tables)
        old = there.get(self._beside)
        target = self._beside.rpartition("_")[2]
        if old is None:
            if self._removed in there:  # without the table it was copied from: by another's hand
                return self._keep_entirely(self._removed)
            self._drop_copy(self._verdicts)
            return None
        if there[""].identity.replace("-", "").startswith(target):
            self.undo()
            return None
        is_the_old_one = old.identity.replace("-", "").startswith(target)
        same = columns(self._warehouse, self._tables) == columns(
            self._warehouse, self._tables, self._beside
        )
        if is_the_old_one and same and self._verdicts in there:
            return self.finish(keep=True)
        return self._keep_entirely()

    def _destroy(self) -> RemovalResult:
        """Drop the old table with what was removed, unless the server guards it."""
        if self._unaccounted(self._beside):
            return self._keep_entirely()
        try:
            self._command("schema/drop_next", {"__copy": self._beside})
        except WarehouseError as error:
            if error.code != TOO_LARGE_TO_DROP:
                raise
            return self._keep_entirely()
        self._drop_copy(self._verdicts)
        return RemovalResult(None)

    def _keep_entirely(self, suffix: str | None = None) -> RemovalResult:
        there = tables_there(self._warehouse, self._tables)
        if self._backup in there:
            raise SchemaError(
                f"{self._tables.fills}{suffix or self._beside} was left by a killed truncate, and "
                f"its backup, {self._tables.fills}{self._backup}, already exists with other rows",
                hint="look at both, and rename or drop the first; nothing was changed",
            )
        self._command(
            "schema/keep_aside", {"__old": suffix or self._beside, "__kept": self._backup}
        )
        for left in (self._removed, self._verdicts):
            self._drop_copy(left)
        return RemovalResult(self._tables.fills + self._backup, holds_all_rows=True)

    def _copy(self, source: str, to: str, *, going: bool) -> None:
        places = {"__from": source, "__to": to}
        for name in ("truncate/copy_judged", "truncate/settle_ties"):
            self._command(name, places, {"going": int(going)})

    def _unaccounted(self, removed: str) -> bool:
        """Return whether a row of the old table is neither in the fills table nor in `removed`.

        Where nothing is to be kept, the old table itself takes the place of what was removed.
        """
        places = {"__from": self._beside, "__removed": removed}
        statement = self._sql("truncate/count_unaccounted", places)
        missing = select_one(self._warehouse, _RowCount, statement)
        if missing is None or not missing.rows:
            return False
        log.warning("truncate_keeps_all", extra={"fields": {"unaccounted_rows": missing.rows}})
        return True

    def _is_empty(self, suffix: str) -> bool:
        return not self._warehouse.rows(self._tables.sql("sync/has_fills", suffixes={"": suffix}))

    def _drop_copy(self, suffix: str) -> None:
        self._command("truncate/drop_copy", {"__copy": suffix})

    def _command(
        self,
        name: str,
        suffixes: dict[str, str] | None = None,
        params: dict[str, object] | None = None,
    ) -> None:
        self._warehouse.command(self._sql(name, suffixes), params)

    def _sql(self, name: str, suffixes: dict[str, str] | None = None) -> str:
        places = {"__verdicts": self._verdicts, **(suffixes or {})}
        return self._tables.sql(name, suffixes=places, own_columns=self._own)

    def _log_step(self, step: str) -> None:
        log.info("truncate_step", extra={"fields": {"step": step}})


def count(
    warehouse: Warehouse, tables: Tables, criterion: Criterion, now: datetime
) -> list[VerdictCount]:
    """Return how many rows would be removed or repaired, by reason; nothing is written."""
    statement = tables.sql(f"truncate/count_{criterion.name}")
    return select(warehouse, VerdictCount, statement, criterion.params(now))


def begin(warehouse: Warehouse, tables: Tables, stamp: str) -> PartialRemoval:
    """Return a new removal of rows of the fills table as it is now; nothing is changed yet."""
    identity = tables_there(warehouse, tables)[""].identity
    return PartialRemoval(warehouse, tables, stamp, identity.replace("-", "")[:16])


def create_like(warehouse: Warehouse, tables: Tables, suffix: str) -> None:
    """Create an empty table like the table of fills.

    A database of the engine Replicated takes no table whose place in Keeper is named, as that of
    the table of fills is once it is made.
    """
    table = tables_there(warehouse, tables)[""]
    if tables.spread_by_database:
        warehouse.command(create_replicated_like(tables, table, "", suffix))
    else:
        warehouse.command(tables.sql("truncate/create_like", suffixes={"__new": suffix}))


def unfinished(warehouse: Warehouse, tables: Tables) -> list[PartialRemoval]:
    """Return the removals that were killed, oldest first."""
    targets: dict[str, str] = {}
    for suffix, table in tables_there(warehouse, tables).items():
        match = _WORK(suffix)
        if match is not None and _is_ours(warehouse, tables, suffix, table):
            stamp, what = match.groups()
            known = targets.setdefault(stamp, "")
            targets[stamp] = known if what in ("verdicts", "removed") else what
    return [PartialRemoval(warehouse, tables, *found) for found in sorted(targets.items())]


def _is_ours(warehouse: Warehouse, tables: Tables, suffix: str, table: Table) -> bool:
    if suffix.endswith("_verdicts"):
        return table.is_marked
    return is_fills_table(table, [column.name for column in columns(warehouse, tables, suffix)])
