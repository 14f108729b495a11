"""Replicated tables: how they are spread, which replicas are down, whether the others have all.

A table may be spread by statements that run ON CLUSTER, or by its database, where that has the
engine Replicated. Replicas fetch each other's rows by themselves, each table on its own: that the
ledger is there does not mean that the fills are. How far each is stands in Keeper, which one host
can read for all.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from kalshi_fills.errors import SettingsError, WarehouseError
from kalshi_fills.warehouse.client import UNREACHABLE_CODES, Code, Warehouse, select, select_one
from kalshi_fills.warehouse.ownership import Table
from kalshi_fills.warehouse.statements import Tables

log = logging.getLogger(__name__)


WRITTEN: Final = ("", "_rejected", "_settlements")
"""Suffixes of the tables that a run's ledger entry vouches for."""

_WAIT_SECONDS: Final = 60.0

UNREACHABLE_CODES_SOURCE_SECONDS: Final = 5.0

_FIRST_PAUSE_SECONDS: Final = 0.02

_LONGEST_PAUSE_SECONDS: Final = 0.5

_NOT_OF_ROWS: Final = re.compile(r"^(?:merge|mutate|alter)\b", re.MULTILINE).search

_SOURCE: Final = re.compile(r"^source replica: (.*)$", re.MULTILINE).search

_MACRO: Final = re.compile(r"\{(\w+)\}")


class _Engine(NamedTuple):
    """What a database is."""

    engine: str


class _Cluster(NamedTuple):
    """A cluster that the server knows."""

    cluster: str


class _Macro(NamedTuple):
    """A text of the server's that may stand in a cluster's name."""

    macro: str
    substitution: str


class _ClusterHost(NamedTuple):
    """A host of a cluster."""

    shard: int
    host: str
    port: int


class _DatabaseHost(NamedTuple):
    """A host of a database of the engine Replicated."""

    shard: int
    host: str
    is_alive: bool


class _Answering(NamedTuple):
    """The place in the cluster of a host that answers."""

    place: int


class _Entry(NamedTuple):
    """An entry of a table's log."""

    name: str


class _Node(NamedTuple):
    """A node of Keeper."""

    path: str
    name: str
    value: str


class _Replica(NamedTuple):
    """A replicated table as this host knows it."""

    table: str
    path: str
    """Its folder in Keeper."""
    here: str
    """The name of this host's replica."""
    down: list[str]
    """Those that are down."""


def as_spread(warehouse: Warehouse, tables: Tables) -> Tables:
    """Return the tables with what their database does by itself taken into account."""
    return replace(tables, spread_by_database=database_engine(warehouse, tables) == "Replicated")


def database_engine(warehouse: Warehouse, tables: Tables) -> str | None:
    """Return the engine of the tables' database, None if there is no such database."""
    params = {"database": tables.database}
    found = select_one(warehouse, _Engine, tables.sql("schema/database"), params)
    return None if found is None else found.engine


def require_one_shard(warehouse: Warehouse, tables: Tables) -> None:
    """Raise if the cluster or the database has no hosts, more than one shard, or a host twice.

    Where the user may not read the server's clusters nothing is known, and nothing raised.

    Raises:
        SettingsError: the tables would be torn into parts, or cannot be spread at all.
    """
    if not tables.replicated:
        return
    try:
        hosts = _hosts(warehouse, tables)
        named = select(warehouse, _Cluster, tables.sql("schema/cluster_names"))
        known = [found.cluster for found in named]
    except WarehouseError as error:
        if error.code != Code.ACCESS_DENIED:
            raise
        log.warning("clusters_unknown", extra={"fields": {"because": error.message}})
        return
    if tables.cluster is not None and not hosts:
        raise SettingsError(
            f"this server knows no cluster {tables.cluster!r}, but {', '.join(known) or 'none'}",
            hint="use a name from system.clusters for --cluster (or CLICKHOUSE_CLUSTER)",
        )
    shards = _shards(warehouse, tables)
    if shards > 1:
        what = f"the cluster {tables.cluster}" if tables.cluster else "the database's own cluster"
        raise SettingsError(
            f"{what} has {shards} shards, and each would hold a part of the fills",
            hint="name a cluster of one shard with --cluster (or CLICKHOUSE_CLUSTER); in a "
            "database of the engine Replicated all hosts must be of one shard",
        )
    if tables.cluster is not None and len(set(hosts)) < len(hosts):
        raise SettingsError(
            f"the cluster {tables.cluster} lists a host more than once",
            hint="mend its definition in the server's configuration, or name another cluster",
        )


def require_all_alive(
    warehouse: Warehouse, tables: Tables, suffixes: Iterable[str], command: str
) -> None:
    """Raise if a host of the cluster, or a replica of one of the tables, is down.

    Raises:
        WarehouseError: one is; nothing was changed.
    """
    down = set(_hosts_down(warehouse, tables)) if tables.replicated else set()
    for table in _replicated(warehouse, tables, suffixes):
        down |= set(table.down)
    if down:
        raise WarehouseError(
            f"{' and '.join(sorted(down))} of the replicas of {tables.database}.{tables.fills} "
            f"{'is' if len(down) == 1 else 'are'} down, and {command} must reach all of them",
            hint="start it again, or if it is gone for good remove it (SYSTEM DROP REPLICA, and "
            "its line in the cluster's definition); nothing was changed",
        )


def wait_for_replicas(
    warehouse: Warehouse,
    tables: Tables,
    seconds: float = _WAIT_SECONDS,
    *,
    suffixes: Iterable[str] = WRITTEN,
) -> list[str]:
    """Wait until every replica that is alive has all rows that this one has now.

    Args:
        warehouse: where the tables are.
        tables: their names; those that are not replicated are not waited for.
        seconds: how long to wait at most.
        suffixes: which of the tables.

    Returns:
        The names of the replicas that are down, sorted.

    Raises:
        WarehouseError: a replica is alive and has not caught up in time, or the user may not see
            how far the replicas are.
    """
    deadline = time.monotonic() + seconds
    down: set[str] = set()
    for table in _replicated(warehouse, tables, suffixes):
        found, behind = _wait_for_others(warehouse, tables, table, deadline)
        down |= found
        if behind:
            raise WarehouseError(
                f"{' and '.join(sorted(behind))} of the replicas of {tables.database}."
                f"{table.table} did not get all rows within {seconds:.0f} seconds",
                hint="see system.replication_queue on that host; what was stored stays, and "
                "running the same command again goes on from there",
            )
    if down:
        log.warning("replicas_down", extra={"fields": {"replicas": sorted(down)}, "printed": True})
    return sorted(down)


def sentences_of_down(names: Sequence[str], tables: Tables) -> list[str]:
    """Return a sentence for the operator for each replica that is down."""
    return [
        f"The replica {name} of {tables.database}.{tables.fills} is down: it was not waited for, "
        "and has none of this until it is back."
        for name in names
    ]


def catch_up(
    warehouse: Warehouse, tables: Tables, suffixes: Iterable[str], there: Iterable[Table]
) -> None:
    """Wait until this replica has what the others have, as far as these can be reached.

    Raises:
        WarehouseError: it did not catch up in time.
    """
    for table in _replicated(warehouse, tables, suffixes, there):
        if table.down:
            _wait_for_this_one(warehouse, tables, table)
        else:
            suffix = table.table.removeprefix(tables.fills)
            warehouse.command(tables.sql("schema/sync_replica", suffixes={"__replica": suffix}))


def _replicated(
    warehouse: Warehouse,
    tables: Tables,
    suffixes: Iterable[str],
    there: Iterable[Table] | None = None,
) -> list[_Replica]:
    """Return those of the tables that replicate by themselves; None looks what is there."""
    if there is None:
        params = {"database": tables.database, "prefix": tables.fills}
        there = select(warehouse, Table, tables.sql("schema/tables"), params)
    replicated = {table.name for table in there if table.engine.startswith("Replicated")}
    wanted = [name for suffix in suffixes if (name := tables.fills + suffix) in replicated]
    if not wanted:
        return []
    with _Asking(tables):
        return select(
            warehouse,
            _Replica,
            tables.sql("schema/replicas"),
            {"database": tables.database, "tables": wanted},
        )


class _Asking:
    """Turns a missing right to see the state of replicas into its own error."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, WarehouseError) and error.code == Code.ACCESS_DENIED:
            raise WarehouseError(
                f"{self._tables.database}.{self._tables.fills} is replicated, and this ClickHouse "
                "user may not see whether all replicas have its rows",
                hint="as an administrator run: GRANT SELECT ON system.replicas TO its_name, and "
                "GRANT SELECT ON system.zookeeper TO its_name",
                code=error.code,
            ) from error


def _hosts(warehouse: Warehouse, tables: Tables) -> list[tuple[str, int]]:
    if tables.cluster is None:
        return []
    return [(found.host, found.port) for found in _cluster(warehouse, tables)]


def _shards(warehouse: Warehouse, tables: Tables) -> int:
    shards = {host.shard for host in _cluster(warehouse, tables)} if tables.cluster else set()
    spread: set[int] = set()
    if tables.spread_by_database:
        spread = {host.shard for host in _database(warehouse, tables)}
    return max(len(shards), len(spread))


def _cluster(warehouse: Warehouse, tables: Tables) -> list[_ClusterHost]:
    name = tables.cluster or ""
    if _MACRO.search(name):
        macros: dict[str, str] = {
            found.macro: found.substitution
            for found in select(warehouse, _Macro, tables.sql("schema/macros"))
        }
        name = _MACRO.sub(lambda match: macros.get(match.group(1), match.group()), name)
    return select(warehouse, _ClusterHost, tables.sql("schema/cluster_hosts"), {"cluster": name})


def _database(warehouse: Warehouse, tables: Tables) -> list[_DatabaseHost]:
    params = {"database": tables.database}
    return select(warehouse, _DatabaseHost, tables.sql("schema/database_hosts"), params)


def _hosts_down(warehouse: Warehouse, tables: Tables) -> list[str]:
    down: list[str] = []
    try:
        if tables.spread_by_database:
            down += [found.host for found in _database(warehouse, tables) if not found.is_alive]
        if tables.cluster is None:
            return down
        hosts = [f"{host}:{port}" for host, port in _hosts(warehouse, tables)]
    except WarehouseError as error:
        if error.code != Code.ACCESS_DENIED:
            raise
        hosts = []
    if tables.cluster is None:
        return down
    try:
        answering = {
            found.place for found in select(warehouse, _Answering, tables.sql("schema/answering"))
        }
    except WarehouseError as error:
        if error.code not in UNREACHABLE_CODES:
            raise
        return hosts or [f"every host of {tables.cluster}"]
    if len(answering) == len(hosts):
        return down
    return down + [host for place, host in enumerate(hosts, 1) if place not in answering]


def _wait_for_others(
    warehouse: Warehouse, tables: Tables, table: _Replica, deadline: float
) -> tuple[set[str], set[str]]:
    """Return which replicas are down, and which have not caught up by the deadline."""
    with _Asking(tables):
        last = _last_entry(warehouse, tables, table)
        nodes = _nodes(warehouse, tables, [f"{table.path}/replicas"])
    behind = {name for _, name in nodes} - {table.here}
    down: set[str] = set()
    waited_for: dict[str, set[str]] = {}
    pause = _FIRST_PAUSE_SECONDS
    while behind:
        states = _states(warehouse, tables, table, behind)
        for name, state in states.items():
            if not state.is_active:
                down.add(name)
                behind.discard(name)
            elif state.next_entry > last:
                queue = set(state.queue)
                waited_for[name] = waited_for.get(name, queue) & queue
                if not waited_for[name]:
                    behind.discard(name)
        if not behind or time.monotonic() >= deadline:
            break
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
    return down, behind


def _wait_for_this_one(warehouse: Warehouse, tables: Tables, table: _Replica) -> None:
    """Wait for what this replica can get; rows that lie on dead ones alone are not waited for."""
    began = time.monotonic()
    with _Asking(tables):
        last = _last_entry(warehouse, tables, table)
    waited_for: set[str] | None = None
    pause = _FIRST_PAUSE_SECONDS
    while True:
        state = _states(warehouse, tables, table, [table.here])[table.here]
        passed = time.monotonic() - began
        if state.next_entry > last:
            queue = set(state.queue)
            waited_for = queue if waited_for is None else waited_for & queue
            lost = {entry for entry in waited_for if state.queue[entry] in table.down}
            if waited_for == lost and passed > UNREACHABLE_CODES_SOURCE_SECONDS:
                fields = {"table": table.table, "replicas": table.down, "parts": len(lost)}
                log.warning("rows_on_a_replica_that_is_down", extra={"fields": fields})
                return
            if not waited_for:
                return
        if passed > _WAIT_SECONDS:
            raise WarehouseError(
                f"this replica of {tables.database}.{table.table} did not get all rows of the "
                f"others within {_WAIT_SECONDS:.0f} seconds",
                hint="see system.replication_queue, then run the same command again",
            )
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


class _State(NamedTuple):
    """How far a replica is."""

    is_active: bool
    next_entry: int
    """The first entry of the table's log that is not in its queue yet."""
    queue: Mapping[str, str]
    """Entries that bring or remove rows and are still to be done, with the replica they are of."""


def _states(
    warehouse: Warehouse, tables: Tables, table: _Replica, names: Collection[str]
) -> dict[str, _State]:
    folders = {name: f"{table.path}/replicas/{name}" for name in names}
    queues = {name: f"{folder}/queue" for name, folder in folders.items()}
    nodes = _nodes(warehouse, tables, [*folders.values(), *queues.values()])
    states = {}
    for name, folder in folders.items():
        pointer = nodes.get((folder, "log_pointer"), "")
        queue = {
            entry: _source_of(value)
            for (path, entry), value in nodes.items()
            if path == queues[name] and not _NOT_OF_ROWS(value)
        }
        is_active = (folder, "is_active") in nodes
        states[name] = _State(is_active, int(pointer) if pointer.isdigit() else 0, queue)
    return states


def _source_of(entry: str) -> str:
    match = _SOURCE(entry)
    return match.group(1) if match else ""


def _last_entry(warehouse: Warehouse, tables: Tables, table: _Replica) -> int:
    params = {"path": f"{table.path}/log"}
    found = select_one(warehouse, _Entry, tables.sql("schema/last_entry"), params)
    name = found.name if found is not None else ""
    return int(name.removeprefix("log-")) if name else -1


def _nodes(
    warehouse: Warehouse, tables: Tables, paths: Sequence[str]
) -> dict[tuple[str, str], str]:
    found = select(warehouse, _Node, tables.sql("schema/keeper"), {"paths": list(paths)})
    return {(node.path, node.name): node.value for node in found}
