"""Making one replicated table of what each host of a cluster holds for itself.

What stands under a name is looked at on every host. It is sound where it is one replicated table;
anything else (a plain table, tables that are no replicas of each other) is gathered: a replicated
table is made beside it, the rows of all hosts are copied, the two are exchanged, what came late is
copied, too, and the old ones are kept. A run that was killed is resumed by what stands there:

    the table    the one beside it    what is done
    -----------  -------------------  ---------------------------------------------
    sound        none                 nothing, or made on hosts that lack it
    not sound    none, or sound       gathered into the new table, then exchanged
    sound        not sound            that is the old one: late rows, kept aside
    otherwise                         refused: which one counts cannot be told

Copying again what was copied changes nothing, so that no copy is ever dropped.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple

from kalshi_fills.errors import SchemaError, WarehouseError
from kalshi_fills.warehouse.client import Warehouse, literal, select, select_one
from kalshi_fills.warehouse.ownership import NEXT, Table
from kalshi_fills.warehouse.replicas import wait_for_replicas
from kalshi_fills.warehouse.statements import Tables
from kalshi_fills.warehouse.there import tables_there
from kalshi_fills.words import one_or_more

_COPY: Final = {"_rejected": "schema/gather_rejected", "_migrations": "schema/gather_migrations"}

_CREATE: Final = re.compile(r"CREATE TABLE (?:(?:`(?:[^`\\]|\\.)*`|\w+)\.?){2} ", re.DOTALL).match

_OWN_PATH: Final = re.compile(
    r"Replicated(\w*MergeTree)\('(?:[^'\\]|\\.)*', '(?:[^'\\]|\\.)*'(?:, )?"
)


class Work(NamedTuple):
    """One step, and how to do it; it returns what was done, where there is more to tell."""

    name: str
    found: str
    action: str
    do: Callable[[], str | None] | None = None
    rows: int | None = None
    bytes: int | None = None


class Spread(NamedTuple):
    """What stands under one name on the hosts."""

    tables: dict[int, Table]
    """By the host's number."""
    statements: dict[int, str]
    """What each was made with."""
    hosts: int

    @property
    def is_sound(self) -> bool:
        """Return whether it is one replicated table on every host that has it."""
        found = self.tables.values()
        alike = {table.identity for table in found if "{uuid}" in table.engine_full}
        return bool(found) and all(table.is_replicated for table in found) and len(alike) <= 1

    @property
    def lacking(self) -> int:
        """How many hosts do not have it."""
        return self.hosts - len(self.tables)

    @property
    def rows(self) -> int:
        """How many rows all hosts have, each replica's counted."""
        return sum(table.rows or 0 for table in self.tables.values())


def replicated_engine(engine_full: str) -> str:
    """Return an engine's clause with its replicated form, in a place of its own in Keeper."""
    if engine_full.startswith("Replicated"):
        return _OWN_PATH.sub(r"Replicated\1(", engine_full)
    return f"Replicated{engine_full}"


def create_replicated_like(tables: Tables, table: Table, suffix: str, name: str) -> str:
    """Return the statement that makes an empty replicated table like another.

    Args:
        tables: where.
        table: what it is to be like; its columns, indexes and projections are taken over.
        suffix: of that table.
        name: the suffix of the new one.
    """
    return (
        f"CREATE TABLE IF NOT EXISTS {tables.name(name)}{tables.on_cluster} AS "
        f"{tables.name(suffix)} ENGINE = {replicated_engine(table.engine_full)} "
        f"COMMENT {literal(table.comment)}"
    )


class _HostCount(NamedTuple):
    """How many hosts a cluster has."""

    hosts: int


class _Ways(NamedTuple):
    """In how many ways the hosts declare a table."""

    ways: int


class _TableOnHost(NamedTuple):
    """What stands under one of our names on one host."""

    host: int
    name: str
    engine: str
    engine_full: str
    sorting_key: str
    partition_key: str
    rows: int | None
    bytes: int | None
    identity: str
    comment: str
    select: str
    statement: str

    @property
    def table(self) -> Table:
        """The table alone."""
        return Table(**{name: getattr(self, name) for name in Table._fields})


class Gathering:
    """Plans what makes tables replicated, on every host."""

    def __init__(
        self, warehouse: Warehouse, tables: Tables, now: datetime, kept: list[str]
    ) -> None:
        """Look at what stands on the hosts.

        Args:
            warehouse: where the tables are.
            tables: their names, and how they are spread.
            now: when the migration began.
            kept: is added the names of the tables that are kept aside.
        """
        self._warehouse = warehouse
        self._tables = tables
        self._kept = kept
        self._stamp = f"{now:%Y%m%dT%H%M%SZ}"
        self._hosts = 1
        self._found: dict[str, Spread] = {}
        if tables.cluster is not None and not tables.spread_by_database:
            counted = select_one(warehouse, _HostCount, tables.sql("schema/count_hosts"))
            self._hosts = counted.hosts if counted is not None else 1
        self._look()

    def spread(self, suffix: str) -> Spread:
        """Return what stands under a name on the hosts."""
        return self._found.get(suffix, Spread({}, {}, self._hosts))

    def plan(self, suffix: str, wait_for_inserts: Callable[[], None]) -> list[Work]:
        """Return the steps that make the table under a name one replicated table.

        Raises:
            SchemaError: the hosts' tables cannot be made one; nothing was changed.
        """
        there, beside = self.spread(suffix), self.spread(suffix + NEXT)
        if not there.tables:
            return []
        name = self._tables.fills + suffix
        if there.is_sound and not beside.tables:
            return []
        if not there.is_sound and (not beside.tables or beside.is_sound):
            self.require_alike(suffix)
            return [
                *self._gather(suffix, there),
                *self._after_exchange(suffix, there, wait_for_inserts),
            ]
        if there.is_sound and not beside.is_sound:
            return self._after_exchange(suffix, beside, wait_for_inserts)
        raise SchemaError(
            f"{self._tables.database}.{name} and {name}{NEXT} are both there, and which one counts "
            "cannot be told",
            hint=f"rename {name}{NEXT} away if it is not needed; nothing was changed",
        )

    def spread_out(self, suffix: str) -> list[Work]:
        """Return the step that makes a table on the hosts that lack it, as it is on the others."""
        there = self.spread(suffix)
        return [self._on_lacking_hosts(suffix, there)] if there.tables and there.lacking else []

    def require_alike(self, suffix: str) -> None:
        """Raise if the rows that the hosts have under a name cannot be put together from here.

        Raises:
            SchemaError: they cannot; nothing was changed.
        """
        if self._hosts == 1:
            if self._tables.spread_by_database:
                self._require_readable()
            return
        name = self._tables.fills + suffix
        places = {"database": self._tables.database, "table": name}
        statement = self._tables.sql("schema/columns_on_hosts")
        declared = select_one(self._warehouse, _Ways, statement, places)
        if declared is not None and declared.ways > 1:
            raise SchemaError(
                f"the hosts of the cluster have tables {self._tables.database}.{name} with "
                "different columns, whose rows cannot be put together",
                hint="run `kalshi-fills migrate` on each host without --cluster, which brings each "
                "to today's schema, and then once with it; nothing was changed",
            )

    def _look(self) -> None:
        if self._hosts == 1:
            for suffix, table in tables_there(self._warehouse, self._tables).items():
                self._found[suffix] = Spread({1: table}, {1: ""}, self._hosts)
            return
        statement = self._tables.sql("schema/tables_on_hosts")
        names = {"database": self._tables.database, "prefix": self._tables.fills}
        for row in select(self._warehouse, _TableOnHost, statement, names):
            suffix = row.name.removeprefix(self._tables.fills)
            found = self._found.setdefault(suffix, Spread({}, {}, self._hosts))
            found.tables[row.host] = row.table
            found.statements[row.host] = row.statement

    def _require_readable(self) -> None:
        """Raise if the rows of the other hosts cannot be read from here.

        Raises:
            SchemaError: they cannot, so that they would not be gathered; nothing was changed.
        """
        try:
            self._warehouse.rows(self._tables.sql("schema/count_hosts"))
        except WarehouseError as error:
            raise SchemaError(
                f"the tables of {self._tables.database} are not replicated, and the rows of its "
                f"other hosts cannot be read from here: {error.message}",
                hint="name a cluster of these hosts, with a user that may read them, with "
                "--cluster (or CLICKHOUSE_CLUSTER); nothing was changed",
                code=error.code,
            ) from error

    def _on_lacking_hosts(self, suffix: str, there: Spread) -> Work:
        host, table = next(iter(there.tables.items()))
        statement = there.statements[host]
        match = _CREATE(statement)

        def create() -> None:
            if match is None:
                raise SchemaError(
                    f"{table.name} was made by a statement that cannot be repeated here",
                    hint="make it on the hosts that lack it by hand, then run this again",
                )
            shared = there.is_sound and "{uuid}" in table.engine_full
            identity = f" UUID '{table.identity}'" if shared else ""
            self._warehouse.command(
                f"CREATE TABLE IF NOT EXISTS {self._tables.name(suffix)}{identity}"
                f"{self._tables.on_cluster} {statement[match.end() :]}"
            )

        lack = one_or_more(there.lacking, "lacks", "lack")
        return Work(
            f"other hosts: {table.name}",
            f"{there.lacking} of {there.hosts} hosts {lack} it",
            "create it there",
            create,
        )

    def _gather(self, suffix: str, there: Spread) -> list[Work]:
        table = next(
            (one for one in there.tables.values() if not one.is_replicated),
            next(iter(there.tables.values())),
        )
        new = suffix + NEXT

        def create() -> None:
            self._warehouse.command(
                create_replicated_like(self._tables, table, suffix, new),
            )

        def exchange() -> None:
            wait_for_replicas(self._warehouse, self._tables, suffixes=(new,))
            self._warehouse.command(
                self._tables.sql("schema/exchange", suffixes={"__new": new, "__old": suffix})
            )

        return [
            Work(
                f"replicated {table.name}",
                f"engine {table.engine}: each host has rows of its own",
                f"create {table.name}{NEXT}, replicated, beside it",
                create,
            ),
            Work(
                f"gather {table.name}",
                f"rows of {len(there.tables)} of {there.hosts} hosts",
                "copy every row",
                lambda: self._copy(suffix, suffix, new),
                there.rows,
            ),
            Work(
                f"exchange {table.name}",
                "the old table is in place",
                "put the replicated one in its place, atomically",
                exchange,
            ),
        ]

    def _after_exchange(
        self, suffix: str, old: Spread, wait_for_inserts: Callable[[], None]
    ) -> list[Work]:
        name = self._tables.fills + suffix
        kept = f"{suffix}_legacy_{self._stamp}"

        def late() -> None:
            wait_for_inserts()
            self._copy(suffix, suffix + NEXT, suffix)

        def keep() -> None:
            places = {"__old": suffix + NEXT, "__kept": kept}
            self._warehouse.command(self._tables.sql("schema/keep_aside", suffixes=places))
            self._kept.append(self._tables.fills + kept)

        return [
            Work(
                f"late rows of {name}",
                "what was written meanwhile",
                "wait for inserts in flight, copy once more",
                late,
                old.rows,
            ),
            Work(
                f"keep aside {name}",
                "the old table, whole, on each host",
                f"keep it as {self._tables.fills}{kept}",
                keep,
                old.rows,
            ),
        ]

    def _copy(self, kind: str, source: str, to: str) -> None:
        statement = _COPY.get(kind, "schema/gather")
        places = {"__to": to, "__from": source}
        self._warehouse.command(self._tables.sql(statement, suffixes=places, everywhere=True))
