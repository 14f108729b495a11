"""Which privileges the tool needs and this user lacks, read from `SHOW GRANTS`.

Found before anything is done, so that a missing one does not stop a migration half-way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from kalshi_fills.errors import SchemaError, WarehouseError
from kalshi_fills.warehouse.client import Warehouse, lines, select_one
from kalshi_fills.warehouse.statements import Tables

TO_MIGRATE: Final = (
    "SELECT",
    "INSERT",
    "CREATE TABLE",
    "CREATE VIEW",
    "DROP TABLE",
    "DROP VIEW",
    "ALTER ADD COLUMN",
    "ALTER MODIFY COLUMN",
    "ALTER DELETE",
)

TO_EXCHANGE: Final = ("SELECT", "INSERT", "CREATE TABLE", "DROP TABLE")

TO_EMPTY: Final = ("SELECT", "INSERT", "TRUNCATE")

_NEEDED_ON_CLUSTER: Final = ("CLUSTER", "REMOTE", "SYSTEM SYNC REPLICA")

_PARENTS: Final = {
    "REMOTE": ("SOURCES",),
    "SYSTEM SYNC REPLICA": ("SYSTEM",),
    "CREATE DATABASE": ("CREATE",),
    "CREATE TABLE": ("CREATE",),
    "CREATE VIEW": ("CREATE",),
    "DROP TABLE": ("DROP",),
    "DROP VIEW": ("DROP",),
    "ALTER ADD COLUMN": ("ALTER COLUMN", "ALTER TABLE", "ALTER"),
    "ALTER MODIFY COLUMN": ("ALTER COLUMN", "ALTER TABLE", "ALTER"),
    "ALTER DELETE": ("ALTER TABLE", "ALTER"),
}

_LINE: Final = re.compile(r"^(GRANT|REVOKE) (.+) ON (\S+)\.(\S+) (?:TO|FROM) ")


def missing_grants(
    lines: Iterable[str],
    needed: Sequence[str],
    database: str,
    table: str,
    *,
    on_cluster: bool = False,
    followers: bool = True,
) -> list[str]:
    """Return the needed privileges that no line grants on the database's tables of ours.

    Args:
        lines: what `SHOW GRANTS FINAL` answers, one grant a line, those of roles among them.
        needed: the privileges to look for.
        database: where the tables are.
        table: the fills table, whose followers (`..._runs` and so on) are meant too.
        followers: whether those tables are meant too, or the fills table alone.
        on_cluster: then those to run on every replica, read from all, and wait for them, too.
    """
    granted: set[str] = set()
    revoked: set[str] = set()
    for line in lines:
        match = _LINE.match(line)
        if match is None:  # a role's name, or a privilege on something other than tables
            continue
        verb, privileges, on_database, on_table = match.groups()
        if not (
            fnmatchcase(database, on_database.replace("`", ""))
            and fnmatchcase(f"{table}_any" if followers else table, on_table.replace("`", ""))
        ):
            continue
        named = {part.strip() for part in re.sub(r"\(.*?\)", "", privileges).split(",")}
        if verb == "GRANT":
            granted |= named
        else:
            revoked |= named
    if on_cluster:
        needed = (*needed, *_NEEDED_ON_CLUSTER)
    return [
        privilege
        for privilege in needed
        if granted.isdisjoint(_with_parents(privilege))
        or not revoked.isdisjoint(_with_parents(privilege))
    ]


class _ReadOnly(NamedTuple):
    """How far a profile restricts a user to reading; 0 for not at all."""

    level: int


def granted_lines(warehouse: Warehouse, tables: Tables) -> list[str]:
    """Return what `SHOW GRANTS FINAL` answers, one grant a line.

    Raises:
        WarehouseError: the engine has no users.
    """
    return lines(warehouse, tables.sql("schema/grants"))


def require_grants(warehouse: Warehouse, tables: Tables, needed: Sequence[str]) -> None:
    """Raise if the user lacks a privilege that a command needs, before it does anything.

    Raises:
        SchemaError: some are missing; its hint is how to grant them.
    """
    read_only = select_one(warehouse, _ReadOnly, tables.sql("schema/read_only"))
    if read_only is not None and read_only.level:
        raise SchemaError(
            "this ClickHouse user may only read (its profile sets readonly)",
            hint="use a user that may create and alter tables in CLICKHOUSE_URL; nothing was "
            "changed",
        )
    try:
        granted = granted_lines(warehouse, tables)
    except WarehouseError:
        return  # an engine without users has no grants to miss
    on_cluster = tables.cluster is not None
    missing = missing_grants(granted, needed, tables.database, tables.fills, on_cluster=on_cluster)
    if missing:
        where = "*.*" if on_cluster else f"{tables.database}.*"
        raise SchemaError(
            f"this ClickHouse user lacks {', '.join(missing)} on {where}",
            hint="nothing was changed; as an administrator run: "
            f"GRANT {', '.join(missing)} ON {where} TO its_name",
        )


def _with_parents(privilege: str) -> set[str]:
    return {privilege, *_PARENTS.get(privilege, ()), "ALL"}
