"""What tables are there, and how they differ from today's schema."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from kalshi_fills.errors import SchemaError, SettingsError, WarehouseError
from kalshi_fills.warehouse.client import Warehouse, select
from kalshi_fills.warehouse.declared import (
    OUR_TABLES,
    SUFFIX_OF,
    DeclaredColumn,
    added_columns,
    first_columns,
    numbered_migrations,
    sources_of_view,
    subject_of,
    todays_columns,
    wanted_sorting_key,
)
from kalshi_fills.warehouse.ownership import (
    FILLS_COLUMNS,
    NEXT,
    VIEWS,
    Table,
    not_ours,
    sources_of,
)
from kalshi_fills.warehouse.replicas import as_spread, catch_up, require_one_shard
from kalshi_fills.warehouse.statements import Statement, Tables
from kalshi_fills.warehouse.there import declared_columns, tables_there

log = logging.getLogger(__name__)


_MIGRATE_HINT: Final = "run `kalshi-fills migrate`, or with --dry-run to see first what it would do"


_VERSIONED: Final = re.compile(r"ReplacingMergeTree\((?:.*, )?version\)")


EXCHANGING_ENGINES: Final = frozenset(("Atomic", "Overlay", "Replicated", "Shared"))


def require_today(warehouse: Warehouse, tables: Tables) -> None:
    """Raise if the tables are not of today's schema; asked before anything is read or written.

    Replicated tables are also waited for, so that what another replica stored is seen here.

    Raises:
        SchemaError: a table is missing or not today's; its hint is to migrate.
    """
    tables = as_spread(warehouse, tables)
    require_one_shard(warehouse, tables)
    there = tables_there(warehouse, tables)
    _require_there(tables, there, "")  # first: it is what people know
    problems = list(schema_problems(declared_columns(warehouse, tables), there[""]))
    if problems:
        raise SchemaError(
            f"the table {tables.database}.{tables.fills} is not of today's schema: {problems[0]}",
            hint=_MIGRATE_HINT,
        )
    for suffix in OUR_TABLES:
        _require_there(tables, there, suffix)
    if any(suffix + NEXT in there for suffix in SUFFIX_OF.values()):
        raise SchemaError(
            f"a migration of {tables.database}.{tables.fills} was not finished",
            hint="run `kalshi-fills migrate`: it goes on where it stopped",
        )
    require_ours(tables, there)
    for problem in _problems_beside(tables, there):
        raise SchemaError(
            f"the tables of {tables.database}.{tables.fills} are not today's: {problem}",
            hint=_MIGRATE_HINT,
        )
    applied_migrations(warehouse, tables)
    behind = _others_behind(warehouse, tables, there)
    if behind:
        raise SchemaError(behind[0], hint=_MIGRATE_HINT)
    catch_up(warehouse, tables, OUR_TABLES, there.values())


def _require_there(tables: Tables, there: Mapping[str, Table], suffix: str) -> None:
    if suffix not in there:
        raise SchemaError(
            f"the table {tables.database}.{tables.fills}{suffix} does not exist",
            hint=_MIGRATE_HINT,
        )


class _Applied(NamedTuple):
    """An entry in the ledger of migrations."""

    version: int
    name: str
    checksum: str
    applied_at: datetime


def applied_migrations(warehouse: Warehouse, tables: Tables) -> list[tuple[int, str]]:
    """Return number and checksum of the migrations that the ledger calls applied.

    Raises:
        SchemaError: one of them is of a newer version of the tool.
    """
    known = dict(numbered_migrations())
    applied: list[tuple[int, str]] = []
    for entry in select(warehouse, _Applied, tables.sql("schema/applied_migrations")):
        if entry.version not in known:
            raise SchemaError(
                f"migration {entry.version} ({entry.name}) was applied by a newer version of the "
                "tool",
                hint="upgrade kalshi-fills on this machine; nothing was changed",
            )
        applied.append((entry.version, entry.checksum))
    return applied


def _others_behind(warehouse: Warehouse, tables: Tables, there: Mapping[str, Table]) -> list[str]:
    """Return a sentence for each table beside the fills table that lacks a column of today."""
    found = []
    for _, statement in numbered_migrations():
        suffix = subject_of(statement)
        if suffix and suffix in there:  # what the fills table lacks is a problem of its own
            for column in lacking_columns(warehouse, tables, statement):
                name = f"{tables.database}.{tables.fills}{suffix}"
                found.append(f"the table {name} lacks the column {column}")
    return found


def lacking_columns(warehouse: Warehouse, tables: Tables, statement: Statement) -> list[str]:
    """Return the columns that a migration adds and its table does not have, in order."""
    added = [found.column.name for found in added_columns(statement)]
    if not added:
        return []
    there = {column.name for column in declared_columns(warehouse, tables, subject_of(statement))}
    return [name for name in added if name not in there]


def require_ours(
    tables: Tables, there: Mapping[str, Table], suffixes: Collection[str] = OUR_TABLES
) -> None:
    """Raise if something else than a table of ours stands under the name of one.

    Raises:
        SchemaError: it is somebody else's; it was not touched.
    """
    for table, why in not_ours(there, suffixes, ()):
        raise foreign_name(tables, table, why)


def foreign_name(tables: Tables, table: Table, why: str) -> SchemaError:
    """Return the error for a table that bears one of our names and is not ours."""
    return SchemaError(
        f"{tables.database}.{table.name} bears a name of ours and is not ours: {why}",
        hint=f"rename it (RENAME TABLE {tables.name(table.name.removeprefix(tables.fills))} TO "
        "...), or name another fills table with --table; it was not touched",
    )


def _problems_beside(tables: Tables, there: Mapping[str, Table]) -> Iterator[str]:
    """Yield in what the tables beside the fills table, and the view, are not as they must be."""
    for suffix in ("", *OUR_TABLES):
        table = there.get(suffix)
        if table is not None and tables.replicated and not table.is_replicated:
            yield (
                f"{table.name} is not replicated (engine {table.engine}), so that each host has "
                "rows of its own"
            )
    for suffix in VIEWS:
        if suffix in there and not any(not_ours(there, (suffix,), FILLS_COLUMNS)):
            for source in sorted(sources_of(there[suffix]) - sources_of_view(suffix, tables)):
                yield f"the view {there[suffix].name} reads {source.database}.{source.table}"


class Schema(NamedTuple):
    """What the fills table is like, against today's; nothing is refused here."""

    exists: bool
    is_of_fills: bool
    """It has what makes a table one of fills, whatever its age."""
    replaces: bool
    """Its engine keeps one row of each key, and knows FINAL."""
    problems: list[str]
    """In what it differs from today's, missing columns first; empty where it is today's."""
    others_missing: list[str]
    """Tables of the tool beside it that are not there."""
    others_behind: Sequence[str] = ()
    """What the tables beside it lack, as sentences; empty where they are today's."""

    @property
    def is_today(self) -> bool:
        """Return whether all tables are there and of today's schema."""
        return self.exists and not self.problems and not self.others_missing


def schema_of(warehouse: Warehouse, tables: Tables) -> Schema:
    """Return what the fills table is like; needs no more than the right to read.

    Replicated tables are waited for where the user may do so, as in `require_today`.
    """
    tables = as_spread(warehouse, tables)
    there = tables_there(warehouse, tables)
    table = there.get("")
    if table is None:
        return Schema(False, False, False, [], [])
    with contextlib.suppress(WarehouseError):
        catch_up(warehouse, tables, OUR_TABLES, there.values())
    existing = declared_columns(warehouse, tables)
    foreign = {found.name: why for found, why in not_ours(there, OUR_TABLES, ())}
    return Schema(
        exists=True,
        is_of_fills=not why_not_fills(existing, table),
        replaces=table.engine.endswith("ReplacingMergeTree"),
        problems=[
            *_shards_problem(warehouse, tables),
            *schema_problems(existing, table),
            *_problems_beside(tables, there),
            *(f"{name} is not ours: {why}" for name, why in foreign.items()),
        ],
        others_missing=[
            tables.fills + suffix
            for suffix in dict.fromkeys(SUFFIX_OF.values())
            if suffix not in there or tables.fills + suffix in foreign
        ],
        others_behind=_others_behind(
            warehouse,
            tables,
            {key: one for key, one in there.items() if one.name not in foreign},
        ),
    )


def _shards_problem(warehouse: Warehouse, tables: Tables) -> Iterator[str]:
    try:
        require_one_shard(warehouse, tables)
    except SettingsError as error:
        yield error.message


def why_not_fills(existing: list[DeclaredColumn], table: Table) -> str:
    """Return why a table is not one of fills; empty if it is one, of whatever age."""
    missing = sorted(FILLS_COLUMNS - {column.name for column in existing})
    if missing:
        return f"it has no column {missing[0]}"
    return "" if "MergeTree" in table.engine else f"its engine is {table.engine}"


def schema_problems(existing: list[DeclaredColumn], table: Table) -> Iterator[str]:
    """Yield in what a fills table differs from today's, missing columns first."""
    types = {column.name: column.type for column in existing}
    for column in todays_columns():
        if column.name not in types:
            yield f"the column {column.name} is missing"
    if blank_id_default_is_lost(existing):
        yield "the column content_hash has not its default, which keeps blank ids apart"
    yield from rebuild_reasons(existing, table)


def own_columns(warehouse: Warehouse, tables: Tables, suffix: str = "") -> list[str]:
    """Return the columns of a table that statements do not name and that are stored."""
    return [
        column.name
        for column in extra_columns(declared_columns(warehouse, tables, suffix))
        if column.default_kind in ("", "DEFAULT")
    ]


def rebuild_reasons(existing: list[DeclaredColumn], table: Table) -> Iterator[str]:
    """Yield why a table cannot be changed in place; nothing if it can, or need not."""
    types = {column.name: column.type for column in existing}
    if not table.engine.endswith("ReplacingMergeTree"):
        yield f"engine {table.engine} never collapses repeats"
    elif not _VERSIONED.search(table.engine_full):
        yield f"engine {table.engine} does not go by the column version"
    if table.engine.endswith("ReplacingMergeTree") and table.sorting_key != wanted_sorting_key():
        yield f"sort key ({table.sorting_key})"
    if table.partition_key:
        yield f"partitioned by {table.partition_key}"
    for column in first_columns():
        if types.get(column.name, column.type) != column.type:
            yield f"{column.name} is {types[column.name]}"


def blank_id_default_is_lost(existing: list[DeclaredColumn]) -> bool:
    """Return whether content_hash lacks the default that keeps blank ids apart."""
    wanted = next(column for column in first_columns() if column.name == "content_hash")
    return any(
        column.name == wanted.name and column.default != wanted.default for column in existing
    )


def extra_columns(existing: list[DeclaredColumn]) -> list[DeclaredColumn]:
    """Return the columns that the fills table was not created with: later ones, the operator's."""
    ours = {column.name for column in first_columns()}
    return [column for column in existing if column.name not in ours]
