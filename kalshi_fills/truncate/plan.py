"""What a truncate would do, what it means for the watermark, and why it is refused; writes nothing.

everything    an empty table is exchanged into the place of the old one, which is the backup:
              one atomic step, no row is copied
garbage       rows that are no valid fills, or repeat one: see `removal`
before T      rows that are older: see `removal`
restore       a backup is exchanged into the place of the empty table
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from kalshi_fills.errors import SchemaError, SettingsError
from kalshi_fills.truncate.backups import (
    Backup,
    backups,
    count_fills,
    empty_backups,
    legacy_tables,
)
from kalshi_fills.truncate.place import Place
from kalshi_fills.truncate.removal import (
    REPAIRED,
    REPEAT,
    Criterion,
    VerdictCount,
    count,
    unfinished,
)
from kalshi_fills.warehouse.grants import TO_EMPTY, TO_EXCHANGE, require_grants
from kalshi_fills.warehouse.ownership import NEXT, Table
from kalshi_fills.warehouse.replicas import database_engine, require_all_alive, require_one_shard
from kalshi_fills.warehouse.schema import EXCHANGING_ENGINES, require_ours, require_today, schema_of
from kalshi_fills.warehouse.statements import Tables
from kalshi_fills.warehouse.there import columns, tables_there
from kalshi_fills.words import many

EVERYTHING, GARBAGE, BEFORE, RESTORE, LIST = "everything", "garbage", "before", "restore", "list"


class TruncateRequest(NamedTuple):
    """What the operator asked for; without any of it every row is removed."""

    garbage: bool = False
    before: datetime | None = None
    restore: str | None = None
    keep: bool = True
    """True where what is removed is kept as a backup."""

    @property
    def what(self) -> str:
        """One word for it."""
        if self.restore is not None:
            return RESTORE
        if self.garbage:
            return GARBAGE
        return EVERYTHING if self.before is None else BEFORE


class Removed(NamedTuple):
    """The rows that are removed for one reason."""

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
    """True where a backup is kept."""
    rows_before: int = 0
    bytes_before: int = 0
    rows_removed: int = 0
    removed: list[Removed] = field(default_factory=list)
    rows_repaired: int = 0
    """Fills that stay under the id that only their payload held."""
    rows_late: int = 0
    """Rows that came between the plan and the end; the other counts include them."""
    backup: str | None = None
    """The table that holds what was removed; before the act, the one that would."""
    backup_holds_all_rows: bool = False
    """It holds the rows that stayed, too."""
    restored: str | None = None
    rows_restored: int = 0
    watermark: datetime | None = None
    watermark_before: datetime | None = None
    legacy: bool = False
    """The table is not of today's schema: migrate comes before the next sync."""
    unfinished: list[str] = field(default_factory=list)
    """What killed runs left, sentence by sentence."""
    other_hosts: list[str] = field(default_factory=list)
    """Hosts with syncs that the ledger does not call finished."""
    backups: list[Backup] = field(default_factory=list)
    kept_aside: list[str] = field(default_factory=list)
    """Old tables that migrate keeps."""

    @property
    def rows_left(self) -> int:
        """Rows that stay, or are there again."""
        return self.rows_restored or self.rows_before - self.rows_removed

    @property
    def has_work(self) -> bool:
        """Return whether there is anything to do."""
        return bool(self.rows_removed or self.rows_repaired or self.unfinished or self.restored)

    @property
    def next(self) -> str | None:
        """The command that fills the table again with what the exchange has."""
        if self.what == LIST:
            return None
        return "kalshi-fills migrate" if self.legacy else "kalshi-fills sync"

    def take(self, verdicts: Sequence[VerdictCount]) -> None:
        """Note what these verdicts remove and repair, and what that means for the watermark."""
        going = [verdict for verdict in verdicts if verdict.reason != REPAIRED]
        self.removed = [Removed(verdict.reason, verdict.rows) for verdict in going]
        self.rows_removed = sum(verdict.rows for verdict in going)
        self.rows_repaired = sum(one.rows for one in verdicts if one.reason == REPAIRED)
        self.watermark = _rewound(self.what, self.watermark_before, going)


def plan_truncation(place: Place, request: TruncateRequest) -> TruncationReport:
    """Return what would be done; nothing is written.

    Raises:
        SettingsError: there is no such backup, or the table to restore it into has rows.
        SchemaError: the table cannot be truncated like this; nothing was changed.
    """
    warehouse, tables, ledger, now = place
    there = tables_there(warehouse, tables)
    report = TruncationReport(request.what, before=request.before, keeps=request.keep)
    report.kept_aside = legacy_tables(there)
    report.backups = backups(warehouse, tables)
    table = _require_fills_table(place, there, request)
    _require_possible(place, there, table, request)
    report.legacy = bool(schema_of(warehouse, tables).problems)
    report.rows_before = rows_of(place, "")
    report.bytes_before = table.bytes or 0
    report.unfinished = [
        f"{backup.name} holds no row and is dropped"
        for backup in empty_backups(report.backups, request.restore)
    ]
    report.unfinished += [
        f"{removal.name} was left by a truncate that was killed: it is finished or undone"
        for removal in unfinished(warehouse, tables)
    ]
    if "_runs" in there:
        report.watermark = report.watermark_before = ledger.last_watermark()
        hosts = {run.host for run in ledger.unfinished()} - {socket.gethostname()}
        report.other_hosts = sorted(hosts)
    if request.restore is not None:
        _plan_restore(place, report, table, request.restore)
    elif request.what == EVERYTHING:
        report.rows_removed = report.rows_before
        report.watermark = None if report.rows_before else report.watermark_before
    else:
        report.take(count(warehouse, tables, Criterion(request.before), now))
        if report.watermark is not None and ledger.table_change():
            report.watermark = None  # no sync has noticed yet what was done by hand
    if report.rows_removed and request.keep:
        report.backup = tables.fills + place.backup
        if place.backup in there and not report.unfinished:
            raise SchemaError(
                f"a backup named {report.backup} already exists",
                hint="run it again: a second later the name is another",
            )
    return report


def list_backups(place: Place) -> TruncationReport:
    """Return the backups; needs no more than the right to read."""
    warehouse, tables, ledger, _ = place
    there = tables_there(warehouse, tables)
    report = TruncationReport(LIST)
    report.kept_aside = legacy_tables(there)
    report.backups = backups(warehouse, tables)
    if "" in there:
        report.rows_before = count_fills(warehouse, tables, there[""])
    if "_runs" in there:
        report.watermark = report.watermark_before = ledger.last_watermark()
    return report


def rows_of(place: Place, suffix: str) -> int:
    """Return how many fills one of the tables has, those of other replicas included."""
    table = tables_there(place.warehouse, place.tables)[suffix]
    if table.engine.startswith("Replicated"):
        place.run("schema/sync_replica", {"__replica": suffix})
    return count_fills(place.warehouse, place.tables, table)


def _require_fills_table(
    place: Place, there: Mapping[str, Table], request: TruncateRequest
) -> Table:
    """Return the fills table, of whatever age; some rows can be removed of today's alone.

    Raises:
        SchemaError: there is none, or it is not of today's schema; nothing was changed.
    """
    warehouse, tables, *_ = place
    name = f"{tables.database}.{tables.fills}"
    table = there.get("")
    if table is None:
        raise SchemaError(
            f"the table {name} does not exist",
            hint="run `kalshi-fills migrate`, which creates it",
        )
    schema = schema_of(warehouse, tables)
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
        require_today(warehouse, tables)
    return table


def _require_possible(
    place: Place, there: Mapping[str, Table], table: Table, request: TruncateRequest
) -> None:
    """Raise if the engine, the hosts or the user's rights do not allow the request.

    Raises:
        SchemaError: they do not; nothing was changed.
        WarehouseError: a host is down.
    """
    warehouse, tables, *_ = place
    name = f"{tables.database}.{tables.fills}"
    engine = database_engine(warehouse, tables)
    require_one_shard(warehouse, tables)
    require_ours(tables, there, ("_runs",))
    for one in filter(None, (table, there.get("_runs"))):
        if tables.replicated and not one.is_replicated:
            raise SchemaError(
                f"{one.name} is not replicated, so that each host has rows of its own",
                hint="run `kalshi-fills migrate` first, with the same options: it makes one "
                "replicated table of them; nothing was changed",
            )
    require_all_alive(warehouse, tables, ("", "_runs"), "truncate")
    reaches_all = tables.cluster is not None or engine in ("Replicated", "Shared")
    if table.is_replicated and not reaches_all:
        raise SchemaError(
            f"{name} is replicated, and a change on this host alone would make its replicas differ",
            hint="name the cluster with --cluster (or CLICKHOUSE_CLUSTER)",
        )
    if request.what == EVERYTHING and not request.keep:
        require_grants(warehouse, tables, TO_EMPTY)
        return
    if engine not in EXCHANGING_ENGINES:
        raise SchemaError(
            f"the database {tables.database} has the engine {engine}, in which tables cannot be "
            "exchanged atomically",
            hint="move the table to a database with the default engine (Atomic), or remove "
            "everything for good with --no-backup",
        )
    if table.engine.startswith("Replicated") and "{uuid}" not in table.engine_full:
        raise SchemaError(
            f"{name} has a path of its own in Keeper, so that no table like it can be created",
            hint="remove everything for good with --no-backup, or rename it and run "
            "`kalshi-fills migrate`",
        )
    require_grants(warehouse, tables, TO_EXCHANGE)


def _plan_restore(place: Place, report: TruncationReport, table: Table, name: str) -> None:
    warehouse, tables, *_ = place
    known = {backup.name: backup for backup in report.backups}
    if name not in known:
        listed = ", ".join(known) or "there is none"
        raise SettingsError(
            f"{name!r} is not a backup of {tables.database}.{table.name}: {listed}",
            hint="see them with `kalshi-fills truncate --list-backups`",
        )
    suffix = place.suffix(name)
    backup = tables_there(warehouse, tables)[suffix]
    is_alike = _shape(place, backup, suffix) == _shape(place, table, "")
    if report.rows_before:
        both = _by_hand(tables, "truncate/copy_whole", {"__from": suffix})
        raise SettingsError(
            f"{tables.database}.{table.name} has {many(report.rows_before, 'row')}, and a backup "
            "is restored into an empty table only",
            hint="run `kalshi-fills truncate` first, which keeps these as a backup, too"
            + (f"; or put both together, versions decide: {both}" if is_alike else ""),
        )
    if not is_alike:
        exchange = _by_hand(tables, "schema/exchange", {"__new": suffix, "__old": ""})
        raise SettingsError(
            f"{name} has another schema than {tables.database}.{table.name} has now",
            hint=f"run {exchange} and then `kalshi-fills migrate`, which brings it to today's "
            "schema and carries its fills over",
        )
    report.restored, report.rows_restored = name, known[name].rows
    report.watermark = None


def _shape(place: Place, table: Table, suffix: str) -> tuple[object, ...]:
    return (
        *(table.engine, table.sorting_key, table.partition_key),
        columns(place.warehouse, place.tables, suffix),
    )


def _by_hand(tables: Tables, name: str, suffixes: Mapping[str, str]) -> str:
    """Return a statement as an operator can run it: in one line, without its header."""
    lines = tables.sql(name, suffixes=suffixes).splitlines()
    return " ".join(line.strip() for line in lines if not line.startswith("--"))


def _rewound(what: str, mark: datetime | None, going: Sequence[VerdictCount]) -> datetime | None:
    """Return the watermark from which the next sync reads what only the exchange can bring back.

    A valid fill never goes as garbage, and a repeat stays in another row; but what a sync wrote and
    is no valid fill any more was changed by hand, and its time may be, too.
    """
    if what == GARBAGE:
        changed = any(verdict.from_exchange for verdict in going if verdict.reason != REPEAT)
        return None if changed else mark
    if not going:
        return mark
    if mark is None or any(verdict.from_exchange < verdict.rows for verdict in going):
        return None  # another writer's clock says nothing of when the exchange dates the fill
    return min(mark, min(verdict.oldest for verdict in going).replace(microsecond=0))
