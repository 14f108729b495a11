"""What a migration finds: the tables, their columns, the ledger, the other hosts. Reads only.

What rules out any migration is refused here, before one is planned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from kalshi_fills.errors import SchemaError
from kalshi_fills.migrate.place import Place
from kalshi_fills.warehouse.client import Warehouse, select_one
from kalshi_fills.warehouse.declared import (
    OUR_TABLES,
    SUFFIX_OF,
    DeclaredColumn,
    migration_label,
    numbered_migrations,
)
from kalshi_fills.warehouse.fills import NO_UUID
from kalshi_fills.warehouse.gathering import Gathering
from kalshi_fills.warehouse.grants import require_grants
from kalshi_fills.warehouse.ownership import NEXT, VIEW, VIEWS, Table, not_ours
from kalshi_fills.warehouse.replicas import (
    as_spread,
    database_engine,
    require_all_alive,
    require_one_shard,
)
from kalshi_fills.warehouse.runs import RunLedger
from kalshi_fills.warehouse.schema import (
    applied_migrations,
    foreign_name,
    rebuild_reasons,
    schema_problems,
    why_not_fills,
)
from kalshi_fills.warehouse.statements import Tables
from kalshi_fills.warehouse.there import declared_columns, tables_there


class Found(NamedTuple):
    """What stands where a migration is to be done."""

    there: Mapping[str, Table]
    """The tables, by suffix."""
    columns: Mapping[str, Sequence[DeclaredColumn]]
    """Of the tables of ours and the view, by suffix; none where there is no such table."""
    engine: str | None
    """Of the database; None if there is no such database."""
    applied: frozenset[int]
    """The numbers of the migrations that the ledger calls applied."""
    hosts: Gathering | None
    """What stands on every host, where the tables are to be replicated."""
    reasons: Sequence[str]
    """Why the fills table cannot be changed in place; empty if it can."""
    next_is_old: bool
    """What is left beside the fills table is the table it has replaced."""
    next_is_copy: bool
    """What is left beside the fills table holds copies only."""
    is_as_recorded: bool
    """The fills table is the one that the ledger of runs knows, with no fewer rows."""

    def is_local(self, table: Table) -> bool:
        """Return whether each host has rows of its own in a table that is to be replicated."""
        return self.hosts is not None and not table.is_replicated


class _CopyCheck(NamedTuple):
    only_copies: bool


def place_of(warehouse: Warehouse, tables: Tables, now: datetime) -> Place:
    """Return where to migrate, how the tables are spread over hosts taken into account.

    Raises:
        SettingsError: the cluster has several shards, or none.
        SchemaError: the user may not run statements on the cluster.
        WarehouseError: a host is down.
    """
    tables = as_spread(warehouse, tables)
    if tables.cluster is not None:
        require_grants(warehouse, tables, ())
    require_one_shard(warehouse, tables)
    require_all_alive(warehouse, tables, SUFFIX_OF.values(), "migrate")
    return Place(warehouse, tables, now)


def look(place: Place, kept: list[str]) -> Found:
    """Return what stands there; nothing is changed.

    Args:
        place: where.
        kept: is added the names of the tables that gathering the hosts' rows keeps aside.

    Raises:
        SchemaError: it cannot be migrated: a table is somebody else's, an applied migration was
            edited, the ledger is of a newer version, or another host has the table.
    """
    warehouse, tables, _ = place
    hosts = Gathering(warehouse, tables, place.now, kept) if tables.replicated else None
    there = tables_there(warehouse, tables)
    columns = {
        suffix: declared_columns(warehouse, tables, suffix)
        for suffix in ("", NEXT, VIEW, *OUR_TABLES)
    }
    _refuse_foreign(tables, there, columns, hosts)
    _require_fills_here(tables, there, hosts)
    left, in_fills = there.get(NEXT), columns[""]
    reasons = list(rebuild_reasons(in_fills, there[""])) if "" in there else []
    ledger = RunLedger(warehouse, tables, NO_UUID)
    return Found(
        there=there,
        columns=columns,
        engine=database_engine(warehouse, tables),
        applied=_applied_numbers(place, there),
        hosts=hosts,
        reasons=reasons,
        next_is_old=left is not None and any(rebuild_reasons(columns[NEXT], left)),
        next_is_copy=left is not None and _is_copy(place, left, columns[NEXT]),
        is_as_recorded=bool(reasons or left) and not ledger.table_change(),
    )


def _is_copy(place: Place, table: Table, columns: list[DeclaredColumn]) -> bool:
    if any(schema_problems(columns, table)):
        return False
    found = select_one(place.warehouse, _CopyCheck, place.tables.sql("schema/is_copy"))
    return found is not None and bool(found.only_copies)


def _applied_numbers(place: Place, there: Mapping[str, Table]) -> frozenset[int]:
    if "_migrations" not in there:
        return frozenset()
    known = dict(numbered_migrations())
    applied = applied_migrations(place.warehouse, place.tables)
    for version, checksum in applied:
        statement = known[version]
        if statement.checksum != checksum:
            raise SchemaError(
                f"migration {migration_label(statement)} was edited after it was applied "
                f"(checksum {statement.checksum}, applied {checksum})",
                hint="restore the file as it was; a change of schema is a new migration",
            )
    return frozenset(version for version, _ in applied)


def _require_fills_here(
    tables: Tables, there: Mapping[str, Table], hosts: Gathering | None
) -> None:
    """Raise if another host has a fills table that this one lacks and cannot just take over."""
    if "" in there or hosts is None:
        return
    elsewhere = hosts.spread("")
    if elsewhere.tables and not elsewhere.is_sound:
        raise SchemaError(
            f"another host of the cluster has a table {tables.database}.{tables.fills}, and this "
            "one has none",
            hint="run `kalshi-fills migrate` on that host (name it in CLICKHOUSE_URL); nothing was "
            "changed",
        )


def _refuse_foreign(
    tables: Tables,
    there: Mapping[str, Table],
    columns: Mapping[str, list[DeclaredColumn]],
    hosts: Gathering | None,
) -> None:
    """Raise if a table that bears one of our names, on whichever host, is not ours."""
    table = there.get("")
    if table is not None:
        why = why_not_fills(columns[""], table)
        if why:
            raise SchemaError(
                f"{tables.database}.{tables.fills} is not a table of fills: {why}",
                hint="name another table with --table; this one was not touched",
            )
    of_view = [column.name for column in columns[VIEW]]
    beside = [suffix + NEXT for suffix in OUR_TABLES]
    for found in (there, *_on_other_hosts(hosts)):
        for stranger, because in not_ours(found, {*VIEWS, *OUR_TABLES, *beside}, of_view):
            raise foreign_name(tables, stranger, because)
    if NEXT in there:
        why = why_not_fills(columns[NEXT], there[NEXT])
        if why:
            raise foreign_name(tables, there[NEXT], why)


def _on_other_hosts(hosts: Gathering | None) -> Iterator[Mapping[str, Table]]:
    """Yield what each host of the cluster has beside the fills table, by suffix."""
    if hosts is None:
        return
    for suffix in {*OUR_TABLES, *(suffix + NEXT for suffix in OUR_TABLES)}:
        for table in hosts.spread(suffix).tables.values():
            yield {suffix: table}
