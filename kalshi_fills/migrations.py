"""Bringing the tables to today's schema: look, plan, act, and say each step.

The numbered statements of `queries/migrations/` are the schema; the ledger remembers which were
applied with which text, and an edited one is refused. What a table needs is read from the table
itself, so that a migration that was killed is resumed by running it again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

from kalshi_fills import __version__
from kalshi_fills.errors import SchemaError
from kalshi_fills.queries import Statement, Tables, load, names
from kalshi_fills.warehouse import Warehouse

FILLS_STATEMENT: Final = "migrations/0002_create_fills"

_MIGRATE_HINT: Final = "run `kalshi-fills migrate`, or with --dry-run to see first what it would do"
_COLUMN: Final = re.compile(
    r"^    `(\w+)` (.+?)(?: DEFAULT (.+?))?(?: CODEC\(.+\))?,?$", re.MULTILINE
)
_SORTING_KEY: Final = re.compile(r"^ORDER BY \((.+)\)$", re.MULTILINE)

FILLS_MARKS: Final = frozenset(("ts", "market_ticker", "exchange_order_id"))
"""Columns every fills table ever had; a table without them is somebody else's."""


class Column(NamedTuple):
    """One column of the fills table, as its statement declares it."""

    name: str
    type: str
    default: str


class Step(NamedTuple):
    """One step of a migration, planned or done."""

    name: str
    found: str
    action: str
    rows: int | None
    seconds: float
    status: str
    """nothing to do, planned, or done."""


@dataclass(slots=True)
class MigrationReport:
    """What migrate found and did."""

    dry_run: bool
    steps: list[Step] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """Tables kept aside with the rows of before."""
    columns: list[str] = field(default_factory=list)
    """The columns of the fills table at the end."""

    @property
    def changed(self) -> bool:
        """Whether anything was changed, or in a dry run would be."""
        return any(step.status != "nothing to do" for step in self.steps)


class Table(NamedTuple):
    """What is there under one of our names."""

    name: str
    engine: str
    sorting_key: str
    partition_key: str
    rows: int | None
    bytes: int | None


def wanted_columns() -> list[Column]:
    """Give the columns of today's fills table, in order, from its statement."""
    return [
        Column(name, kind.strip(), default)
        for name, kind, default in _COLUMN.findall(load(FILLS_STATEMENT).text)
    ]


def require_today(warehouse: Warehouse, tables: Tables) -> None:
    """Hold the tables to today's schema before anything is read or written.

    Raises:
        SchemaError: a table is missing or not today's; its hint is to migrate.
    """
    there = {table.name: table for table in _tables(warehouse, tables)}
    for suffix in ("", "_rejected", "_runs", "_migrations"):
        if tables.fills + suffix not in there:
            raise SchemaError(
                f"the table {tables.database}.{tables.fills}{suffix} does not exist",
                hint=_MIGRATE_HINT,
            )
    for problem in fills_problems(warehouse, tables, there[tables.fills]):
        raise SchemaError(
            f"the table {tables.database}.{tables.fills} is not of today's schema: {problem}",
            hint=_MIGRATE_HINT,
        )


def fills_problems(warehouse: Warehouse, tables: Tables, table: Table) -> Iterator[str]:
    """Say, one by one, in what a fills table differs from today's."""
    held = {name: kind for name, kind, *_ in columns(warehouse, tables)}
    for column in wanted_columns():
        if column.name not in held:
            yield f"the column {column.name} is missing"
        elif held[column.name] != column.type:
            yield f"the column {column.name} is {held[column.name]}, not {column.type}"
    if not table.engine.endswith("ReplacingMergeTree"):
        yield f"its engine is {table.engine}, which never collapses repeats"
    elif table.sorting_key != wanted_sorting_key():
        yield f"its sort key is ({table.sorting_key})"
    if table.partition_key:
        yield f"it is partitioned by {table.partition_key}"


def wanted_sorting_key() -> str:
    """Give the sort key of today's fills table as the engine prints it."""
    match = _SORTING_KEY.search(load(FILLS_STATEMENT).text)
    assert match is not None
    return match.group(1)


def columns(warehouse: Warehouse, tables: Tables) -> list[tuple[str, str, str, str]]:
    """Give name, type and default of the fills table's columns; empty if there is no table."""
    found = warehouse.rows(
        tables.sql("schema/columns"), {"database": tables.database, "table": tables.fills}
    )
    return [(str(row[0]), str(row[1]), str(row[2]), str(row[3])) for row in found]


class Migration:
    """Plans and applies; `run` does both, `dry_run` only the first."""

    def __init__(self, warehouse: Warehouse, tables: Tables, now: datetime) -> None:
        self._warehouse = warehouse
        self._tables = tables
        self._now = now

    def run(self, *, dry_run: bool) -> MigrationReport:
        """Bring the tables to today's schema, each step done once.

        Raises:
            SchemaError: an applied migration was edited, the ledger is of a newer version, or the
                table is no fills table; nothing was changed.
            WarehouseError: ClickHouse refused a statement; running it again resumes.
        """
        report = MigrationReport(dry_run)
        there = {table.name: table for table in _tables(self._warehouse, self._tables)}
        applied = self._applied(there)
        self._refuse_foreign(there)
        self._database(report)
        for number, statement in _statements():
            if number in applied and self._is_there(number, there):
                report.steps.append(_nothing(statement, "applied before"))
                continue
            self._apply(report, number, statement, there, in_ledger=number in applied)
        self._missing_columns(report, there)
        held = columns(self._warehouse, self._tables)
        report.columns = [name for name, *_ in held] or [column.name for column in wanted_columns()]
        return report

    def _database(self, report: MigrationReport) -> None:
        name = f"database {self._tables.database}"
        if self._warehouse.rows(
            self._tables.sql("schema/database"), {"database": self._tables.database}
        ):
            report.steps.append(Step(name, "there", "none", None, 0.0, "nothing to do"))
            return
        self._do(report, name, "missing", "create", "schema/create_database", None)

    def _applied(self, there: dict[str, Table]) -> dict[int, str]:
        if self._tables.fills + "_migrations" not in there:
            return {}
        ours = dict(_statements())
        applied: dict[int, str] = {}
        for version, name, checksum, _ in self._warehouse.rows(
            self._tables.sql("schema/applied_migrations")
        ):
            statement = ours.get(int(version))
            if statement is None:
                raise SchemaError(
                    f"migration {version} ({name}) was applied by a newer version of the tool",
                    hint="upgrade kalshi-fills on this machine; nothing was changed",
                )
            if statement.checksum != checksum:
                raise SchemaError(
                    f"migration {name} was edited after it was applied (checksum "
                    f"{statement.checksum}, applied {checksum})",
                    hint="restore the file as it was; a change of schema is a new migration",
                )
            applied[int(version)] = str(checksum)
        return applied

    def _refuse_foreign(self, there: dict[str, Table]) -> None:
        table = there.get(self._tables.fills)
        if table is None:
            return
        held = {name for name, *_ in columns(self._warehouse, self._tables)}
        missing = sorted(FILLS_MARKS - held)
        if missing or "MergeTree" not in table.engine:
            why = f"it has no column {missing[0]}" if missing else f"its engine is {table.engine}"
            raise SchemaError(
                f"{self._tables.database}.{self._tables.fills} is not a table of fills: {why}",
                hint="name another table with --table; this one was not touched",
            )

    def _is_there(self, number: int, there: dict[str, Table]) -> bool:
        suffix = {1: "_migrations", 2: "", 3: "_rejected", 4: "_runs", 5: "_current"}[number]
        return self._tables.fills + suffix in there

    def _apply(
        self,
        report: MigrationReport,
        number: int,
        statement: Statement,
        there: dict[str, Table],
        *,
        in_ledger: bool,
    ) -> None:
        found = "there" if self._is_there(number, there) else "missing"
        self._do(report, _label(statement), found, statement.title, statement.name, None)
        if not report.dry_run and not in_ledger:
            self._warehouse.insert(
                self._tables.name("_migrations"),
                ("version", "name", "checksum", "applied_at", "tool_version"),
                [(number, _label(statement), statement.checksum, self._now, __version__)],
            )

    def _missing_columns(self, report: MigrationReport, there: dict[str, Table]) -> None:
        table = there.get(self._tables.fills)
        if table is None:
            return
        held = {name for name, *_ in columns(self._warehouse, self._tables)}
        missing = [column.name for column in wanted_columns() if column.name not in held]
        if not missing:
            report.steps.append(
                Step("columns", "all there", "none", table.rows, 0.0, "nothing to do")
            )
            return
        self._do(
            report,
            "columns",
            f"missing {', '.join(missing)}",
            "add",
            "schema/add_columns",
            table.rows,
        )

    def _do(
        self,
        report: MigrationReport,
        name: str,
        found: str,
        action: str,
        statement: str,
        rows: int | None,
    ) -> None:
        if report.dry_run:
            report.steps.append(Step(name, found, action, rows, 0.0, "planned"))
            return
        began = time.monotonic()
        self._warehouse.command(self._tables.sql(statement))
        report.steps.append(
            Step(name, found, action, rows, round(time.monotonic() - began, 3), "done")
        )


def _tables(warehouse: Warehouse, tables: Tables) -> list[Table]:
    found = warehouse.rows(
        tables.sql("schema/tables"), {"database": tables.database, "prefix": tables.fills}
    )
    return [Table(*row) for row in found]


def _statements() -> list[tuple[int, Statement]]:
    return [
        (int(match.group(1)), load(name))
        for name in names("migrations")
        if (match := re.match(r"migrations/(\d{4})_", name))
    ]


def _label(statement: Statement) -> str:
    return statement.name.removeprefix("migrations/")


def _nothing(statement: Statement, found: str) -> Step:
    return Step(_label(statement), found, "none", None, 0.0, "nothing to do")
