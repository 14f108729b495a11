"""Bringing the tables to today's schema: look, plan, act, and say each step.

The numbered statements of `queries/migrations/` are the schema; the ledger remembers which were
applied with which text, and an edited one is refused. What a fills table needs is read from the
table itself, so that a migration that was killed is resumed by running it again:

    there                         what it is               what is done
    ----------------------------  -----------------------  ---------------------------------------
    no mm_fills                   nothing                  create
    mm_fills of today             done before              nothing, or add columns that are missing
    mm_fills of old               legacy                   add columns; new table `__next` beside
                                                           it; copy what are fills; exchange
    mm_fills of old and __next    killed before exchange   drop __next if it holds copies only, else
                                                           keep it aside, too; start anew
    mm_fills of today and __next  killed after exchange    __next is the old table: copy late rows,
                                                           keep it as _legacy_<stamp>

No row of an old table is ever destroyed: the table is kept, whole, under its dated name.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import uuid4

from kalshi_fills import __version__
from kalshi_fills.errors import SchemaError
from kalshi_fills.pipeline.fills import CLOCK_TOLERANCE
from kalshi_fills.warehouse.client import Warehouse
from kalshi_fills.warehouse.fills import FillStore
from kalshi_fills.warehouse.gathering import NEXT, Gathering
from kalshi_fills.warehouse.gathering import Work as _Work
from kalshi_fills.warehouse.grants import TO_MIGRATE
from kalshi_fills.warehouse.ownership import VIEW, Source, Table, not_ours, source_of
from kalshi_fills.warehouse.replicas import (
    as_spread,
    require_all_alive,
    require_one_shard,
    wait_for_replicas,
)
from kalshi_fills.warehouse.schema import (
    EXCHANGING_ENGINES,
    FILLS_STATEMENT,
    OUR_TABLES,
    SUFFIX_OF,
    DeclaredColumn,
    added_columns,
    applied_migrations,
    blank_id_default_is_lost,
    database_engine,
    declared_columns,
    extra_columns,
    foreign_name,
    lacking_columns,
    migration_label,
    numbered_migrations,
    own_columns,
    rebuild_reasons,
    require_grants,
    schema_problems,
    tables_there,
    todays_columns,
    wait_for_inserts,
    why_not_fills,
)
from kalshi_fills.warehouse.statements import Statement, Tables

log = logging.getLogger(__name__)


_FILLS, _VIEW = 2, 5

NOTHING, PLANNED, DONE = "nothing to do", "planned", "done"


class Step(NamedTuple):
    """One step of a migration, planned or done."""

    name: str
    found: str
    action: str
    rows: int | None
    bytes: int | None
    seconds: float
    status: str
    """nothing to do, planned, or done."""


@dataclass(slots=True)
class MigrationReport:
    """What migrate found and did."""

    dry_run: bool
    steps: list[Step] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """Tables kept aside by this run, with the rows of before."""
    columns: list[str] = field(default_factory=list)
    """The columns of the fills table at the end; in a dry run those it has now."""

    @property
    def changed(self) -> bool:
        """Whether anything was changed, or in a dry run would be."""
        return any(step.status != NOTHING for step in self.steps)


class Migration:
    """Plans and applies; a dry run only plans."""

    def __init__(
        self,
        warehouse: Warehouse,
        tables: Tables,
        now: datetime,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._warehouse = warehouse
        self._tables = tables
        self._now = now
        self._progress = progress
        self._kept: list[str] = []
        self._counts: dict[str, int] = {}
        self._gathering: Gathering | None = None
        """What stands on every host, where the tables are to be replicated."""
        self._fills_are_replicated = False
        """The fills table is replicated, and nothing says how to reach the other hosts."""

    def run(self, *, dry_run: bool) -> MigrationReport:
        """Bring the tables to today's schema, each step done once.

        Raises:
            SchemaError: an applied migration was edited, the ledger is of a newer version, the
                table is no fills table, or it cannot be rebuilt here; nothing was changed.
            WarehouseError: ClickHouse refused a statement; running it again resumes.
        """
        report = MigrationReport(dry_run)
        plan = self._plan()
        for work in plan:
            log.info("migrate_plan", extra={"fields": _told(work)})
        for work in plan:
            report.steps.append(self._step(work, dry_run))
        if not dry_run and report.changed:
            wait_for_replicas(self._warehouse, self._tables, suffixes=("", *OUR_TABLES))
        report.kept = self._kept
        report.columns = [column.name for column in declared_columns(self._warehouse, self._tables)]
        return report

    def _step(self, work: _Work, dry_run: bool) -> Step:
        began = time.monotonic()
        status, action = NOTHING, work.action
        if work.do is not None:
            status = PLANNED
            if not dry_run:
                self._progress(f"{work.name}: {work.action}")
                action = work.do() or work.action
                status = DONE
        seconds = round(time.monotonic() - began, 3)
        step = Step(work.name, work.found, action, work.rows, work.bytes, seconds, status)
        if status == DONE:
            log.info("migrate_step", extra={"fields": step._asdict()})
        return step

    def _plan(self) -> list[_Work]:
        self._require_replicas()
        there = tables_there(self._warehouse, self._tables)
        self._refuse_foreign(there)
        self._require_fills_here(there)
        applied = self._applied_numbers(there)
        plan = [self._database(), *self._replicate_beside()]
        rebuilt = False
        for number, statement in numbered_migrations():
            suffix = SUFFIX_OF[number]
            if number == _FILLS and "" in there:
                fills = [*self._spread_out(""), *self._fills(there)]
                rebuilt = any(work.do is not None for work in fills)
                plan += fills
                if number not in applied:
                    plan.append(self._note(number, statement))
            elif added_columns(statement):
                plan.append(self._alter(number, statement, number in applied))
            elif (
                number in applied
                and suffix in there
                and not (number == _VIEW and (rebuilt or self._view_is_stale(there)))
            ):
                plan.append(_Work(migration_label(statement), "there", "none"))
            else:
                found = "there" if suffix in there else "missing"
                plan.append(self._create(number, statement, found, number in applied))
        if any(work.do is not None for work in plan):
            there_already = database_engine(self._warehouse, self._tables) is not None
            needed = TO_MIGRATE if there_already else ("CREATE DATABASE", *TO_MIGRATE)
            require_grants(self._warehouse, self._tables, needed)
        return plan

    def _require_replicas(self) -> None:
        """Look how the tables are spread; all hosts must take part."""
        self._tables = as_spread(self._warehouse, self._tables)
        if self._tables.cluster is not None:
            require_grants(self._warehouse, self._tables, ())
        require_one_shard(self._warehouse, self._tables)
        require_all_alive(self._warehouse, self._tables, SUFFIX_OF.values(), "migrate")
        if self._tables.replicated:
            self._gathering = Gathering(self._warehouse, self._tables, self._now, self._kept)

    def _replicate_beside(self) -> list[_Work]:
        """Plan what makes the tables beside the fills table replicated, where they are to be."""
        if self._gathering is None:
            return []
        return [
            work
            for suffix in OUR_TABLES
            for work in (*self._spread_out(suffix), *self._replicate(suffix))
        ]

    def _spread_out(self, suffix: str) -> list[_Work]:
        return [] if self._gathering is None else self._gathering.spread_out(suffix)

    def _replicate(self, suffix: str) -> list[_Work]:
        if self._gathering is None:
            return []
        return self._gathering.plan(suffix, lambda: wait_for_inserts(self._warehouse, self._tables))

    def _require_fills_here(self, there: Mapping[str, Table]) -> None:
        """Raise if another host has a fills table that this one lacks and cannot just take over."""
        table = there.get("")
        self._fills_are_replicated = (
            table is not None
            and not self._tables.replicated
            and table.engine.startswith("Replicated")
        )
        if table is None and self._gathering is not None:
            elsewhere = self._gathering.spread("")
            if elsewhere.tables and not elsewhere.is_sound:
                raise SchemaError(
                    f"another host of the cluster has a table {self._tables.database}."
                    f"{self._tables.fills}, and this one has none",
                    hint="run `kalshi-fills migrate` on that host (name it in CLICKHOUSE_URL); "
                    "nothing was changed",
                )

    def _needs_cluster(self) -> SchemaError:
        return SchemaError(
            f"{self._tables.database}.{self._tables.fills} is replicated, and what must be done "
            "has to be done on all its hosts",
            hint="name the cluster with --cluster (or CLICKHOUSE_CLUSTER); nothing was changed",
        )

    def _database(self) -> _Work:
        name = f"database {self._tables.database}"
        if database_engine(self._warehouse, self._tables) is not None:
            return _Work(name, "there", "none")
        return _Work(name, "missing", "create", lambda: self._command("schema/create_database"))

    def _create(self, number: int, statement: Statement, found: str, applied: bool) -> _Work:
        if self._fills_are_replicated:
            raise self._needs_cluster()

        def create() -> None:
            self._command(statement.name)
            if not applied:
                self._remember(number, statement)

        return _Work(migration_label(statement), found, "create", create)

    def _alter(self, number: int, statement: Statement, applied: bool) -> _Work:
        """Plan a migration that adds columns: those that are there decide, not the ledger alone."""
        lacking = lacking_columns(self._warehouse, self._tables, SUFFIX_OF[number], statement)
        if not lacking:
            done = _Work(migration_label(statement), "there", "none")
            return done if applied else self._note(number, statement)

        def alter() -> None:
            self._command(statement.name)
            if not applied:
                self._remember(number, statement)

        found = f"{len(lacking)} columns missing: {', '.join(lacking)}"
        return _Work(migration_label(statement), found, "add them", alter)

    def _note(self, number: int, statement: Statement) -> _Work:
        return _Work(
            migration_label(statement),
            "not in the ledger",
            "note in the ledger",
            lambda: self._remember(number, statement),
        )

    def _fills(self, there: dict[str, Table]) -> list[_Work]:
        """Plan what an existing fills table needs."""
        table = there[""]
        held = declared_columns(self._warehouse, self._tables)
        there_already = {column.name for column in held}
        missing = [column.name for column in todays_columns() if column.name not in there_already]
        reasons = list(rebuild_reasons(held, table))
        plan: list[_Work] = []
        if missing:
            plan.append(
                _Work(
                    "columns",
                    f"{len(missing)} missing: {', '.join(missing)}",
                    "add them",
                    lambda: self._command("schema/add_columns"),
                    table.rows,
                    table.bytes,
                )
            )
        else:
            plan.append(_Work("columns", "all there", "none", None, table.rows, table.bytes))
        if not reasons and blank_id_default_is_lost(held):
            plan.append(
                _Work(
                    "default of content_hash",
                    "lost: blank ids would collapse",
                    "give it back",
                    lambda: self._command("schema/mend_default"),
                )
            )
        next_is_old = NEXT in there and any(
            rebuild_reasons(declared_columns(self._warehouse, self._tables, NEXT), there[NEXT])
        )
        gathered = [] if reasons or next_is_old else self._replicate("")
        if reasons:
            plan += self._rebuild(there, held, reasons)
        elif gathered:
            plan += gathered
        elif NEXT in there:
            old = there[NEXT]
            if not next_is_old:
                raise SchemaError(
                    f"{self._tables.database}.{self._tables.fills} and its {NEXT} table are both "
                    "of today's schema, so which one counts cannot be told",
                    hint=f"rename {self._tables.fills}{NEXT} away if it is not needed; nothing was "
                    "changed",
                )
            plan += self._after_exchange(old)
        else:
            plan.append(_Work("fills table", "of today's schema", "none"))
        return plan

    def _rebuild(
        self, there: dict[str, Table], held: list[DeclaredColumn], reasons: list[str]
    ) -> list[_Work]:
        old = there[""]
        if self._fills_are_replicated:
            raise self._needs_cluster()
        if self._gathering is not None and self._is_local(old):
            self._gathering.require_alike("")
        engine = database_engine(self._warehouse, self._tables)
        if engine not in EXCHANGING_ENGINES:
            raise SchemaError(
                f"the database {self._tables.database} has the engine {engine}, in which tables "
                "cannot be exchanged atomically, and the table must be rebuilt",
                hint="create a database with the default engine (Atomic), move the table there "
                "with RENAME TABLE, and name it in CLICKHOUSE_URL; nothing was changed",
            )
        plan = []
        if NEXT in there:
            plan.append(self._unfinished(there[NEXT], held))
        own = extra_columns(held)
        everywhere = self._is_local(old)
        plan += [
            _Work(
                "new table",
                "; ".join(reasons),
                f"create {self._tables.fills}{NEXT} beside the old one",
                lambda: self._create_next(own),
            ),
            _Work(
                "carry over",
                "rows of the old table",
                "copy each fill once; what is no fill or has no id stays behind",
                lambda: self._carry_over(NEXT, "", everywhere),
                old.rows,
                old.bytes,
            ),
            _Work(
                "exchange",
                "the old table is in place",
                "put the new table in its place, atomically",
                self._exchange,
            ),
            *self._after_exchange(old),
        ]
        return plan

    def _unfinished(self, left: Table, held: list[DeclaredColumn]) -> _Work:
        """Plan what becomes of a table that an earlier migration left under the next one's name."""
        its = declared_columns(self._warehouse, self._tables, NEXT)
        ours = {column.name for column in (*held, *todays_columns())}
        newer = sorted(column.name for column in its if column.name not in ours)
        if newer:
            raise SchemaError(
                f"{self._tables.fills}{NEXT} has columns this version does not know "
                f"({', '.join(newer)}): a newer version's migration was not finished",
                hint="finish it with that version of kalshi-fills; nothing was changed",
            )
        copies_only = not list(schema_problems(its, left)) and bool(
            self._warehouse.rows(self._tables.sql("schema/is_copy"))[0][0]
        )
        if copies_only:
            return _Work(
                "unfinished copy",
                "a migration was killed before the exchange",
                "drop the copy and start anew",
                lambda: self._command("schema/drop_next"),
                left.rows,
                left.bytes,
            )
        kept = f"_legacy_{self._now:%Y%m%dT%H%M%SZ}_unfinished"

        def keep() -> None:
            self._command("schema/keep_aside", suffixes={"__kept": kept})
            self._kept.append(self._tables.fills + kept)

        return _Work(
            "unfinished migration",
            "it left a table with rows of its own",
            f"keep it as {self._tables.fills}{kept}",
            keep,
            left.rows,
            left.bytes,
        )

    def _after_exchange(self, old: Table) -> list[_Work]:
        kept = f"_legacy_{self._now:%Y%m%dT%H%M%SZ}"
        everywhere = self._is_local(old)
        # Only a rebuild that keeps every fill of the runs before may count as the same table.
        ledger = FillStore(self._warehouse, self._tables, uuid4(), self._now, dry_run=False)
        as_recorded = not ledger.table_change()

        def keep() -> str:
            self._command("schema/keep_aside", suffixes={"__kept": kept})
            name = f"{self._tables.fills}{kept}"
            self._kept.append(name)
            total = self._count(kept, everywhere)
            carried = self._counts.get("carried", 0)
            if as_recorded:
                there = ledger.table_state(None)
                ledger.note_rebuild(there._replace(rows=carried), self._now)
            return (
                f"kept as {name} with all {total:,} rows: {carried:,} fills were carried over, "
                f"{total - carried:,} rows are no valid fills, have no id, or repeat one"
            )

        return [
            _Work(
                "late rows",
                "what a live engine wrote meanwhile",
                "wait for inserts in flight, copy again what came late",
                lambda: self._late_rows(everywhere),
                old.rows,
                old.bytes,
            ),
            _Work(
                "keep aside",
                "the old table, whole",
                f"keep it as {self._tables.fills}{kept}",
                keep,
                old.rows,
                old.bytes,
            ),
        ]

    def _create_next(self, own: list[DeclaredColumn]) -> None:
        self._command(FILLS_STATEMENT, suffixes={"": NEXT})
        on_cluster = self._tables.on_cluster
        for column in own:  # an engine that writes its own columns goes on working
            self._warehouse.command(
                f"ALTER TABLE {self._tables.name(NEXT)}{on_cluster} ADD COLUMN IF NOT EXISTS "
                f"{column.sql}"
            )

    def _carry_over(self, to: str, source: str, everywhere: bool) -> str:
        statement = self._tables.sql(
            "schema/carry_over",
            suffixes={NEXT: to, "": source},
            own_columns=own_columns(self._warehouse, self._tables, source),
            everywhere=everywhere,
        )
        self._warehouse.command(statement, {"latest": self._now + CLOCK_TOLERANCE})
        carried = int(
            self._warehouse.rows(self._tables.sql("schema/count_carried", suffixes={"": to}))[0][0]
        )
        self._counts["carried"] = carried
        return f"{carried:,} fills copied"

    def _late_rows(self, everywhere: bool) -> str:
        before = self._counts.get("carried", 0)
        wait_for_inserts(self._warehouse, self._tables)
        self._carry_over("", NEXT, everywhere)
        late = self._counts["carried"] - before
        return f"{late:,} fills had come late" if before else "copied once more"

    def _exchange(self) -> None:
        self._command("schema/exchange")

    def _view_is_stale(self, there: Mapping[str, Table]) -> bool:
        """Return whether the view lacks columns of the table, or reads another one, on any host."""

        def named(suffix: str) -> list[str]:
            return [
                column.name
                for column in declared_columns(self._warehouse, self._tables, suffix)
                if column.default_kind in ("", "DEFAULT")
            ]

        views = [there[VIEW]]
        if self._gathering is not None:
            spread = self._gathering.spread(VIEW)
            if spread.lacking:
                return True
            views += spread.tables.values()
        beside = Source(self._tables.database, self._tables.fills)
        return any(source_of(view) != beside for view in views) or named(VIEW) != named("")

    def _is_local(self, table: Table) -> bool:
        """Return whether each host has rows of its own in the table, where all are to have all."""
        return self._tables.replicated and not table.is_replicated

    def _applied_numbers(self, there: dict[str, Table]) -> set[int]:
        if "_migrations" not in there:
            return set()
        known = dict(numbered_migrations())
        applied = applied_migrations(self._warehouse, self._tables)
        for version, checksum in applied:
            statement = known[version]
            if statement.checksum != checksum:
                raise SchemaError(
                    f"migration {migration_label(statement)} was edited "
                    f"after it was applied (checksum "
                    f"{statement.checksum}, applied {checksum})",
                    hint="restore the file as it was; a change of schema is a new migration",
                )
        return {version for version, _ in applied}

    def _remember(self, number: int, statement: Statement) -> None:
        self._warehouse.insert(
            self._tables.name("_migrations"),
            ("version", "name", "checksum", "applied_at", "tool_version"),
            [(number, migration_label(statement), statement.checksum, self._now, __version__)],
        )

    def _refuse_foreign(self, there: Mapping[str, Table]) -> None:
        """Hold what stands under our names to be ours, on every host; nothing is touched."""
        table = there.get("")
        if table is not None:
            why = why_not_fills(declared_columns(self._warehouse, self._tables), table)
            if why:
                raise SchemaError(
                    f"{self._tables.database}.{self._tables.fills} is not a table of fills: {why}",
                    hint="name another table with --table; this one was not touched",
                )
        view = [column.name for column in declared_columns(self._warehouse, self._tables, VIEW)]
        for found in (there, *self._on_other_hosts()):
            beside = [suffix + NEXT for suffix in OUR_TABLES]
            for stranger, because in not_ours(found, {VIEW, *OUR_TABLES, *beside}, view):
                raise foreign_name(self._tables, stranger, because)
        if NEXT in there:
            why = why_not_fills(declared_columns(self._warehouse, self._tables, NEXT), there[NEXT])
            if why:
                raise foreign_name(self._tables, there[NEXT], why)

    def _on_other_hosts(self) -> Iterator[Mapping[str, Table]]:
        """Yield what each host of the cluster has beside the fills table, by suffix."""
        if self._gathering is None:
            return
        for suffix in {*OUR_TABLES, *(suffix + NEXT for suffix in OUR_TABLES)}:
            for table in self._gathering.spread(suffix).tables.values():
                yield {suffix: table}

    def _count(self, suffix: str, everywhere: bool) -> int:
        statement = self._tables.sql(
            "schema/count_rows", suffixes={"": suffix}, everywhere=everywhere
        )
        return int(self._warehouse.rows(statement)[0][0])

    def _command(self, name: str, suffixes: dict[str, str] | None = None) -> None:
        self._warehouse.command(self._tables.sql(name, suffixes=suffixes))


def _told(work: _Work) -> dict[str, object]:
    facts = work._asdict()
    del facts["do"]
    return facts
