"""Removing rows on purpose: plan, and only then act; what goes is kept as a backup.

    everything    an empty table is exchanged into the place of the old one, which is the backup:
                  one atomic step, no row is copied
    garbage       rows that are no valid fills, or repeat one: see `sifting`
    before T      rows that are older: see `sifting`
    restore       a backup is exchanged into the place of the empty table

The watermark is rewound first, to what the next sync must read again: a run that is killed between
the two has a sync read too much, never too little. Quarantine and ledgers stay as they are.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from kalshi_fills.errors import SchemaError, SettingsError, WarehouseError
from kalshi_fills.truncate.backups import (
    Backup,
    backup_suffix,
    backups,
    count_fills,
    legacy_tables,
    stamp,
)
from kalshi_fills.truncate.removal import (
    MENDED,
    REPEAT,
    Criterion,
    Judged,
    begin,
    count,
    create_like,
    unfinished,
)
from kalshi_fills.warehouse.client import Warehouse
from kalshi_fills.warehouse.fills import FillStore
from kalshi_fills.warehouse.grants import TO_EMPTY, TO_EXCHANGE, require_grants
from kalshi_fills.warehouse.in_flight import wait_for_inserts
from kalshi_fills.warehouse.ownership import NEXT, Table
from kalshi_fills.warehouse.replicas import (
    as_spread,
    require_all_alive,
    require_one_shard,
    wait_for_replicas,
)
from kalshi_fills.warehouse.schema import (
    EXCHANGING_ENGINES,
    columns,
    database_engine,
    require_ours,
    require_today,
    schema_of,
    tables_there,
)
from kalshi_fills.warehouse.standing import TableState
from kalshi_fills.warehouse.statements import Tables

log = logging.getLogger(__name__)


EVERYTHING, GARBAGE, BEFORE, RESTORE, LIST = "everything", "garbage", "before", "restore", "list"

_TOO_LARGE_TO_DROP: Final = 359

_NOT_EMPTY: Final = 705


class TruncateRequest(NamedTuple):
    """What the operator asked for; nothing of it means that every row goes."""

    garbage: bool = False
    before: datetime | None = None
    restore: str | None = None
    keep: bool = True
    """Whether what is removed is kept as a backup."""

    @property
    def what(self) -> str:
        """One word for it."""
        if self.restore is not None:
            return RESTORE
        if self.garbage:
            return GARBAGE
        return EVERYTHING if self.before is None else BEFORE


class Removed(NamedTuple):
    """The rows that go for one reason."""

    reason: str
    rows: int


@dataclass(slots=True)
class TruncationReport:
    """What a truncate would do, and after it has acted, what it did."""

    what: str
    dry_run: bool = False
    acted: bool = False
    before: datetime | None = None
    keeps: bool = True
    """Whether a backup is kept."""
    rows_before: int = 0
    bytes_before: int = 0
    rows_removed: int = 0
    removed: list[Removed] = field(default_factory=list)
    rows_mended: int = 0
    """Fills that stay under the id that only their payload held."""
    rows_late: int = 0
    """Rows that came between the plan and the end, and are among the others."""
    backup: str | None = None
    """The table that holds what was removed; before the act, the one that would."""
    backup_is_whole: bool = False
    """It holds the rows that stayed, too."""
    restored: str | None = None
    rows_restored: int = 0
    watermark: datetime | None = None
    watermark_before: datetime | None = None
    legacy: bool = False
    """The table is not today's: migrate comes before the next sync."""
    unfinished: list[str] = field(default_factory=list)
    """What killed runs left, sentence by sentence."""
    other_hosts: list[str] = field(default_factory=list)
    """Hosts whose syncs have not said how they ended."""
    backups: list[Backup] = field(default_factory=list)
    kept_aside: list[str] = field(default_factory=list)
    """Old tables that migrate keeps."""

    @property
    def rows_left(self) -> int:
        """Rows that stay, or are there again."""
        return self.rows_restored or self.rows_before - self.rows_removed

    @property
    def has_work(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.rows_removed or self.rows_mended or self.unfinished or self.restored)

    @property
    def next(self) -> str | None:
        """The command that fills the table again with what the exchange has."""
        if self.what == LIST:
            return None
        return "kalshi-fills migrate" if self.legacy else "kalshi-fills sync"


class Truncation:
    """Plans, and acts by the plan."""

    def __init__(
        self,
        warehouse: Warehouse,
        tables: Tables,
        run_id: UUID,
        now: datetime,
    ) -> None:
        tables = as_spread(warehouse, tables)
        self._warehouse = warehouse
        self._tables = tables
        self._ledger = FillStore(warehouse, tables, run_id, now, dry_run=False)
        self._now = now
        self._progress: Callable[[str], None] = lambda _: None
        self._backup = backup_suffix(stamp(now))

    def plan(self, request: TruncateRequest) -> TruncationReport:
        """Say what would be done; writes nothing.

        Raises:
            SettingsError: there is no such backup, or the table to restore it into has rows.
            SchemaError: the table cannot be truncated like this; nothing was changed.
        """
        there = tables_there(self._warehouse, self._tables)
        report = TruncationReport(request.what, before=request.before, keeps=request.keep)
        report.kept_aside = legacy_tables(there)
        report.backups = backups(self._warehouse, self._tables)
        table = self._fills_table(there, request)
        self._refuse(there, table, request)
        report.legacy = bool(schema_of(self._warehouse, self._tables).problems)
        report.rows_before = self._rows_of("")
        report.bytes_before = table.bytes or 0
        report.unfinished = [
            f"{backup.name} holds no row and is dropped"
            for backup in report.backups
            if backup.is_marked and not backup.rows and backup.name != request.restore
        ]
        report.unfinished += [
            f"{left.name} was left by a truncate that was killed: it is finished or taken back"
            for left in unfinished(self._warehouse, self._tables)
        ]
        if "_runs" in there:
            report.watermark = report.watermark_before = self._ledger.last_watermark()
            host = socket.gethostname()
            others = {run.host for run in self._ledger.unfinished()} - {host}
            report.other_hosts = sorted(others)
        if request.restore is not None:
            self._plan_restore(report, table, request.restore)
        elif request.what == EVERYTHING:
            report.rows_removed = report.rows_before
            report.watermark = None if report.rows_before else report.watermark_before
        else:
            criterion = Criterion(request.before)
            judged = count(self._warehouse, self._tables, criterion, self._now)
            self._take(report, judged)
            if report.watermark is not None and self._ledger.table_change():
                report.watermark = None  # no sync has noticed yet what was done by hand
        if report.rows_removed and request.keep:
            report.backup = self._tables.fills + self._backup
            if self._backup in there and not report.unfinished:
                raise SchemaError(
                    f"a backup named {report.backup} is there already",
                    hint="run it again: a second later the name is another",
                )
        return report

    def act(
        self, request: TruncateRequest, progress: Callable[[str], None] = lambda _: None
    ) -> TruncationReport:
        """Do what the plan says, after what killed runs left is finished.

        Raises:
            SettingsError: there is no such backup, or the table to restore it into has rows.
            SchemaError: the table cannot be truncated like this; nothing was changed.
            WarehouseError: ClickHouse refused a statement; running it again finishes.
        """
        self._progress = progress
        report = self.plan(request)
        log.info("truncate_plan", extra={"fields": _logged(report)})
        if not report.has_work:
            return report
        if report.unfinished:
            told = self._finish_killed(report)
            report = self.plan(request)
            report.unfinished = told
        report.acted = True
        if report.restored is not None:
            self._restore(report)
        elif report.rows_removed or report.rows_mended:
            if request.what == EVERYTHING:
                self._remove_all(report)
            else:
                self._remove_some(report, Criterion(request.before))
        wait_for_replicas(
            self._warehouse, self._tables, suffixes=("", "_runs", *self._kept_suffix(report))
        )
        report.backups = backups(self._warehouse, self._tables)
        log.info("truncated", extra={"fields": _logged(report)})
        return report

    def listing(self) -> TruncationReport:
        """List the backups; needs no more than the right to read."""
        there = tables_there(self._warehouse, self._tables)
        report = TruncationReport(LIST)
        report.kept_aside = legacy_tables(there)
        report.backups = backups(self._warehouse, self._tables)
        if "" in there:
            report.rows_before = count_fills(self._warehouse, self._tables, there[""])
        if "_runs" in there:
            report.watermark = report.watermark_before = self._ledger.last_watermark()
        return report

    def _fills_table(self, there: dict[str, Table], request: TruncateRequest) -> Table:
        """Give the fills table, of whatever age; only a whole one of today can be sifted."""
        name = f"{self._tables.database}.{self._tables.fills}"
        table = there.get("")
        if table is None:
            raise SchemaError(
                f"the table {name} does not exist",
                hint="run `kalshi-fills migrate`: it makes it, empty",
            )
        schema = schema_of(self._warehouse, self._tables)
        if not schema.is_of_fills:
            raise SchemaError(
                f"{name} is not a table of fills",
                hint="name another table with --table; this one was not touched",
            )
        if NEXT in there:
            raise SchemaError(
                f"a migration of {name} was not finished",
                hint="run `kalshi-fills migrate`: it goes on where it stopped",
            )
        if request.what in (GARBAGE, BEFORE):
            if schema.problems and request.garbage:
                raise SchemaError(
                    f"the table {name} is not of today's schema: {schema.problems[0]}",
                    hint="run `kalshi-fills migrate`: it carries the valid fills over and leaves "
                    "the garbage behind in the old table, which it keeps",
                )
            require_today(self._warehouse, self._tables)
        return table

    def _refuse(self, there: dict[str, Table], table: Table, request: TruncateRequest) -> None:
        """Hold the request to what the engine and the user's rights allow."""
        name = f"{self._tables.database}.{self._tables.fills}"
        require_one_shard(self._warehouse, self._tables)
        require_ours(self._tables, there, ("_runs",))
        for held in filter(None, (table, there.get("_runs"))):
            if self._tables.replicated and not held.is_replicated:
                raise SchemaError(
                    f"{held.name} is not replicated, so that each host has rows of its own",
                    hint="run `kalshi-fills migrate` first, with the same options: it makes one "
                    "replicated table of them; nothing was changed",
                )
        require_all_alive(self._warehouse, self._tables, ("", "_runs"), "truncate")
        if table.is_replicated and not self._ddl_reaches_all():
            raise SchemaError(
                f"{name} is replicated, and a change on this host alone would tear its replicas "
                "apart",
                hint="name the cluster with --cluster (or CLICKHOUSE_CLUSTER)",
            )
        exchanges = request.keep or request.what != EVERYTHING
        if not exchanges:
            require_grants(self._warehouse, self._tables, TO_EMPTY)
            return
        engine = database_engine(self._warehouse, self._tables)
        if engine not in EXCHANGING_ENGINES:
            raise SchemaError(
                f"the database {self._tables.database} has the engine {engine}, in which tables "
                "cannot be exchanged atomically",
                hint="move the table to a database with the default engine (Atomic), or remove "
                "everything for good with --no-backup",
            )
        if table.engine.startswith("Replicated") and "{uuid}" not in table.engine_full:
            raise SchemaError(
                f"{name} has a path of its own in Keeper, so that no table like it can be made",
                hint="remove everything for good with --no-backup, or rename it and run "
                "`kalshi-fills migrate`",
            )
        require_grants(self._warehouse, self._tables, TO_EXCHANGE)

    def _ddl_reaches_all(self) -> bool:
        engine = database_engine(self._warehouse, self._tables)
        return self._tables.cluster is not None or engine in ("Replicated", "Shared")

    def _plan_restore(self, report: TruncationReport, table: Table, name: str) -> None:
        known = {backup.name: backup for backup in report.backups}
        if name not in known:
            listed = ", ".join(known) or "there is none"
            raise SettingsError(
                f"{name!r} is no backup of {self._tables.database}.{table.name}: {listed}",
                hint="see them with `kalshi-fills truncate --list-backups`",
            )
        suffix = self._suffix(name)
        held = tables_there(self._warehouse, self._tables)[suffix]
        is_alike = self._shape(held, suffix) == self._shape(table, "")
        if report.rows_before:
            both = self._told("truncate/copy_whole", {"__from": suffix})
            raise SettingsError(
                f"{self._tables.database}.{table.name} has {report.rows_before:,} rows, and a "
                "backup is restored into an empty table only",
                hint="run `kalshi-fills truncate` first, which keeps these as a backup, too"
                + (f"; or put both together, versions decide: {both}" if is_alike else ""),
            )
        if not is_alike:
            exchange = self._told("schema/exchange", {"__new": suffix, "__old": ""})
            raise SettingsError(
                f"{name} has another schema than {self._tables.database}.{table.name} has now",
                hint=f"run {exchange} and then `kalshi-fills migrate`, which brings it to today's "
                "schema and carries its fills over",
            )
        report.restored, report.rows_restored = name, known[name].rows
        report.watermark = None

    def _shape(self, table: Table, suffix: str) -> tuple[object, ...]:
        return (
            *(table.engine, table.sorting_key, table.partition_key),
            columns(self._warehouse, self._tables, suffix),
        )

    def _take(self, report: TruncationReport, judged: list[Judged]) -> None:
        """Put what goes and what it means for the watermark into the report."""
        going = [entry for entry in judged if entry.reason != MENDED]
        report.removed = [Removed(entry.reason, entry.rows) for entry in going]
        report.rows_removed = sum(entry.rows for entry in going)
        report.rows_mended = sum(entry.rows for entry in judged if entry.reason == MENDED)
        report.watermark = _rewound(report.what, report.watermark_before, going)

    def _finish_killed(self, report: TruncationReport) -> list[str]:
        told = []
        for left in unfinished(self._warehouse, self._tables):
            self._progress("finishing what a killed truncate left")
            kept = left.resume()
            if kept is None:
                told.append("A truncate that was killed before it removed anything was taken back.")
            elif kept.backup is None:
                told.append("A truncate that was killed was finished.")
            else:
                told.append(
                    f"A truncate that was killed was finished; its backup is {kept.backup}."
                )
        empty = [
            backup
            for backup in report.backups
            if backup.is_marked and not backup.rows and backup.name != report.restored
        ]
        if empty:
            wait_for_inserts(self._warehouse, self._tables)
        dropped = [backup.name for backup in empty if self._drop_empty(self._suffix(backup.name))]
        return told + [f"The backup {name} held no row and was dropped." for name in dropped]

    def _remove_all(self, report: TruncationReport) -> None:
        why = "every row was removed"
        if not report.keeps:
            self._progress("removing every row")
            with self._rewinding(report, why):
                self._empty()
            return
        self._progress("putting an empty table in place")
        create_like(self._warehouse, self._tables, self._backup)
        try:
            with self._rewinding(report, why):
                self._command("schema/exchange", {"__new": self._backup, "__old": ""})
        except WarehouseError as error:
            if self._is_refusal(error):
                self._drop_empty(self._backup)
            raise
        wait_for_inserts(self._warehouse, self._tables)
        self._settle_counts(report, self._rows_of(self._backup), 0)

    def _remove_some(self, report: TruncationReport, criterion: Criterion) -> None:
        removal = begin(self._warehouse, self._tables, stamp(self._now))
        self._progress("judging every row")
        planned = report.watermark
        self._take(report, removal.judge(criterion, self._now))
        if planned is None:
            report.watermark = None
        if not report.rows_removed and not report.rows_mended:
            removal.take_back()
            report.backup = None
            return
        self._progress("copying what stays")
        try:
            with self._rewinding(report, "rows were removed"):
                removal.exchange()
        except WarehouseError as error:
            if self._is_refusal(error):
                removal.resume()
            raise
        self._progress("keeping what was removed")
        kept = removal.finish(keep=report.keeps)
        report.backup, report.backup_is_whole = kept
        removed = report.rows_removed
        if kept.backup is not None and not kept.is_whole:
            removed = self._rows_of(self._suffix(kept.backup))
        self._settle_counts(report, removed, self._rows_of(""))

    def _restore(self, report: TruncationReport) -> None:
        assert report.restored is not None
        suffix = self._suffix(report.restored)
        self._progress("putting the backup in place")
        with self._rewinding(report, f"{report.restored} was restored"):
            self._command("schema/exchange", {"__new": suffix, "__old": ""})
        wait_for_inserts(self._warehouse, self._tables)
        if not self._drop_empty(suffix):
            self._command("truncate/copy_whole", {"__from": suffix})
            self._command("truncate/drop_copy", {"__copy": suffix})
        rows = self._rows_of("")
        report.rows_late, report.rows_restored = rows - report.rows_restored, rows

    @contextmanager
    def _rewinding(self, report: TruncationReport, why: str) -> Iterator[None]:
        """Rewind the watermark, and back again if ClickHouse refuses what stands in the block.

        An entry is written although the watermark may be there already: a sync that runs on another
        host meanwhile must not set it further on.
        """
        if "_runs" not in tables_there(self._warehouse, self._tables):
            yield
            return
        to = report.watermark.isoformat() if report.watermark else "none"
        told = f"truncate rewound the watermark to {to}: {why}"
        self._ledger.rewind(report.watermark, told, self._now)
        try:
            yield
        except WarehouseError as error:
            if self._is_refusal(error):
                self._ledger.rewind(
                    report.watermark_before,
                    "truncate was refused and set the watermark back to where it was",
                    self._now,
                    self._state_left(),
                )
            raise
        self._ledger.rewind(report.watermark, told, self._now, self._state_left())

    def _state_left(self) -> TableState:
        """Return which table is there now, and its fills: so that the next sync knows it again."""
        return self._ledger.table_state(None)._replace(rows=self._rows_of(""))

    def _is_refusal(self, error: WarehouseError) -> bool:
        """Whether the statement was not done: unlike one whose answer was lost, or is still due."""
        return error.code is not None and not self._tables.replicated

    def _empty(self) -> None:
        try:
            self._command("truncate/empty")
        except WarehouseError as error:
            if error.code != _TOO_LARGE_TO_DROP:
                raise
            raise WarehouseError(
                f"{self._tables.database}.{self._tables.fills} is larger than the server lets "
                "anybody remove for good at once (its setting max_table_size_to_drop)",
                hint="leave --no-backup out: putting an empty table in its place is not limited, "
                "and copies nothing",
                code=error.code,
            ) from error

    def _drop_empty(self, suffix: str) -> bool:
        """Drop a table that holds no row; false if it holds one."""
        try:
            self._command("truncate/drop_empty", {"__empty": suffix})
        except WarehouseError as error:
            if error.code != _NOT_EMPTY:
                raise
            return False
        return True

    def _settle_counts(self, report: TruncationReport, removed: int, left: int) -> None:
        report.rows_late = removed + left - report.rows_before
        report.rows_removed, report.rows_before = removed, removed + left

    def _rows_of(self, suffix: str) -> int:
        table = tables_there(self._warehouse, self._tables)[suffix]
        if table.engine.startswith("Replicated"):
            self._command("schema/sync_replica", {"__replica": suffix})
        return count_fills(self._warehouse, self._tables, table)

    def _kept_suffix(self, report: TruncationReport) -> list[str]:
        return [self._suffix(report.backup)] if report.backup else []

    def _suffix(self, name: str) -> str:
        return name.removeprefix(self._tables.fills)

    def _told(self, name: str, suffixes: dict[str, str]) -> str:
        """Give a statement as an operator can run it: in one line, without its header."""
        lines = self._tables.sql(name, suffixes=suffixes).splitlines()
        return " ".join(line.strip() for line in lines if not line.startswith("--"))

    def _command(self, name: str, suffixes: dict[str, str] | None = None) -> None:
        self._warehouse.command(self._tables.sql(name, suffixes=suffixes))


def _rewound(what: str, mark: datetime | None, going: list[Judged]) -> datetime | None:
    """Give the watermark from which the next sync reads again what only it can bring back.

    A valid fill never goes as garbage, and a repeat stays in another row; but what a sync wrote and
    is no valid fill any more was changed by hand, and its time may be, too.
    """
    if what == GARBAGE:
        changed = any(entry.from_exchange for entry in going if entry.reason != REPEAT)
        return None if changed else mark
    if not going:
        return mark
    if mark is None or any(entry.from_exchange < entry.rows for entry in going):
        return None  # another writer's clock says nothing of when the exchange dates the fill
    return min(mark, min(entry.oldest for entry in going).replace(microsecond=0))


def _logged(report: TruncationReport) -> dict[str, object]:
    return {
        "what": report.what,
        "rows_before": report.rows_before,
        "rows_removed": report.rows_removed,
        "rows_left": report.rows_left,
        "backup": report.backup,
        "restored": report.restored,
        "watermark": report.watermark.isoformat() if report.watermark else None,
    }
