"""What a migration has to do, from what it found; nothing is read or changed here.

What a fills table needs follows from the table itself, so that a migration that was killed is
resumed by running it again:

    there                         what it is               what is done
    ----------------------------  -----------------------  ---------------------------------------
    no mm_fills                   nothing                  create
    mm_fills of today             migrated before          nothing, or add columns that are missing
    mm_fills of old               legacy                   add columns; new table `__next` beside
                                                           it; copy the fills; exchange
    mm_fills of old and __next    killed before exchange   drop __next if it holds copies only, else
                                                           keep it aside, too; start anew
    mm_fills of today and __next  killed after exchange    __next is the old table: copy late rows,
                                                           keep it as _legacy_<stamp>
"""

from __future__ import annotations

from functools import partial
from typing import Final

from kalshi_fills import __version__
from kalshi_fills.errors import SchemaError
from kalshi_fills.migrate.found import Found
from kalshi_fills.migrate.place import Place
from kalshi_fills.migrate.rebuild import Rebuild
from kalshi_fills.warehouse.declared import (
    FILLS_STATEMENT,
    OUR_TABLES,
    SUFFIX_OF,
    added_columns,
    first_columns,
    migration_label,
    numbered_migrations,
    sources_of_view,
    todays_columns,
)
from kalshi_fills.warehouse.gathering import Work
from kalshi_fills.warehouse.in_flight import wait_for_inserts
from kalshi_fills.warehouse.ownership import NEXT, VIEW, VIEWS, Table, sources_of
from kalshi_fills.warehouse.schema import (
    EXCHANGING_ENGINES,
    blank_id_default_is_lost,
    extra_columns,
)
from kalshi_fills.warehouse.statements import Statement
from kalshi_fills.words import many

_DONE: Final = "none"
"""The action of a step with nothing to do."""


def plan(place: Place, found: Found, rebuild: Rebuild) -> list[Work]:
    """Return the steps of a migration, in order; those with nothing to do included.

    Args:
        place: where to migrate.
        found: what stands there.
        rebuild: the acts of a rebuild, should one be due.

    Raises:
        SchemaError: it cannot be done here; nothing was changed.
    """
    works = [_database(place, found)]
    for suffix in OUR_TABLES:
        works += [*_spread_out(found, suffix), *_replicate(place, found, suffix)]
    is_changed = False
    for number, statement in _in_order():
        suffix = SUFFIX_OF[number]
        if statement.name == FILLS_STATEMENT and "" in found.there:
            fills = [*_spread_out(found, ""), *_fills(place, found, rebuild)]
            is_changed = any(work.do is not None for work in fills)
            works += fills
            if number not in found.applied:
                works.append(_note(place, number, statement))
        elif added_columns(statement):
            lacking = _lacking(found, number, statement)
            is_changed |= bool(lacking) and not suffix
            works += _alter(place, found, number, statement, lacking)
        elif (
            number in found.applied
            and suffix in found.there
            and not (suffix in VIEWS and (is_changed or _view_is_stale(place, found, suffix)))
        ):
            works.append(Work(migration_label(statement), "there", _DONE))
        else:
            works.append(_create(place, found, number, statement))
    return works


def _in_order() -> list[tuple[int, Statement]]:
    """Return the numbered migrations, each view behind whatever alters the fills table."""
    found = numbered_migrations()
    last = max(number for number, _ in found if SUFFIX_OF[number] in ("", VIEW))

    def place(one: tuple[int, Statement]) -> tuple[int, bool]:
        number, _ = one
        is_view = SUFFIX_OF[number] in VIEWS
        return (max(number, last), True) if is_view else (number, False)

    return sorted(found, key=place)


def _database(place: Place, found: Found) -> Work:
    name = f"database {place.tables.database}"
    if found.engine is not None:
        return Work(name, "there", _DONE)
    return Work(name, "missing", "create", partial(place.run, "schema/create_database"))


def _spread_out(found: Found, suffix: str) -> list[Work]:
    return [] if found.hosts is None else found.hosts.spread_out(suffix)


def _replicate(place: Place, found: Found, suffix: str) -> list[Work]:
    if found.hosts is None:
        return []
    return found.hosts.plan(suffix, partial(wait_for_inserts, place.warehouse, place.tables))


def _create(place: Place, found: Found, number: int, statement: Statement) -> Work:
    _require_local(place, found)
    state = "there" if SUFFIX_OF[number] in found.there else "missing"
    is_new = number not in found.applied
    apply = partial(_apply, place, number, statement, is_new=is_new)
    return Work(migration_label(statement), state, "create", apply)


def _lacking(found: Found, number: int, statement: Statement) -> list[str]:
    """Return the columns that a migration adds and that its table lacks: not the ledger decides."""
    there = {column.name for column in found.columns[SUFFIX_OF[number]]}
    return [
        added.column.name for added in added_columns(statement) if added.column.name not in there
    ]


def _alter(
    place: Place, found: Found, number: int, statement: Statement, lacking: list[str]
) -> list[Work]:
    is_new = number not in found.applied
    if not lacking:
        if is_new:
            return [_note(place, number, statement)]
        return [Work(migration_label(statement), "there", _DONE)]
    what = f"{many(len(lacking), 'column')} missing: {', '.join(lacking)}"
    apply = partial(_apply, place, number, statement, is_new=is_new)
    return [Work(migration_label(statement), what, "add them", apply)]


def _note(place: Place, number: int, statement: Statement) -> Work:
    return Work(
        migration_label(statement),
        "not in the ledger",
        "note in the ledger",
        partial(_remember, place, number, statement),
    )


def _apply(place: Place, number: int, statement: Statement, *, is_new: bool) -> None:
    place.run(statement.name)
    if is_new:
        _remember(place, number, statement)


def _remember(place: Place, number: int, statement: Statement) -> None:
    place.warehouse.insert(
        place.tables.name("_migrations"),
        ("version", "name", "checksum", "applied_at", "tool_version"),
        [(number, migration_label(statement), statement.checksum, place.now, __version__)],
    )


def _fills(place: Place, found: Found, rebuild: Rebuild) -> list[Work]:
    """Return what an existing fills table needs."""
    table = found.there[""]
    works = [_add_columns(place, found)]
    if not found.reasons and blank_id_default_is_lost(list(found.columns[""])):
        works.append(
            Work(
                "default of content_hash",
                "missing, so that rows with a blank fill_id replace each other",
                "restore it",
                partial(place.run, "schema/mend_default"),
            )
        )
    if found.reasons:
        return [*works, *_rebuild(place, found, rebuild)]
    gathered = [] if found.next_is_old else _replicate(place, found, "")
    if gathered:
        return [*works, *gathered]
    if NEXT not in found.there:
        return [*works, Work("fills table", "of today's schema", _DONE)]
    if not found.next_is_old:
        raise SchemaError(
            f"{place.tables.database}.{table.name} and {table.name}{NEXT} are both of today's "
            "schema, and nothing tells which of them is the fills table",
            hint=f"rename {table.name}{NEXT} if it is not needed; nothing was changed",
        )
    return [*works, *_after_exchange(place, found, rebuild, found.there[NEXT])]


def _add_columns(place: Place, found: Found) -> Work:
    """Return the step that adds the columns which the fills table is created with."""
    table = found.there[""]
    there = {column.name for column in found.columns[""]}
    missing = [column.name for column in first_columns() if column.name not in there]
    if not missing:
        return Work("columns", "all there", _DONE, None, table.rows, table.bytes)
    return Work(
        "columns",
        f"{len(missing)} missing: {', '.join(missing)}",
        "add them",
        partial(place.run, "schema/add_columns"),
        table.rows,
        table.bytes,
    )


def _rebuild(place: Place, found: Found, rebuild: Rebuild) -> list[Work]:
    old = found.there[""]
    _require_local(place, found)
    everywhere = found.is_local(old)
    if found.hosts is not None and everywhere:
        found.hosts.require_alike("")
    if found.engine not in EXCHANGING_ENGINES:
        raise SchemaError(
            f"the table must be rebuilt, and the database {place.tables.database} has the engine "
            f"{found.engine}, in which tables cannot be exchanged atomically",
            hint="create a database with the default engine (Atomic), move the table there with "
            "RENAME TABLE, and name it in CLICKHOUSE_URL; nothing was changed",
        )
    unfinished = [_unfinished(place, found, rebuild)] if NEXT in found.there else []
    return [
        *unfinished,
        Work(
            "new table",
            "; ".join(found.reasons),
            f"create {place.tables.fills}{NEXT} beside the old one",
            partial(rebuild.create_next, extra_columns(list(found.columns[""]))),
        ),
        Work(
            "carry over",
            "rows of the old table",
            "copy each fill once; rows that are no fills or have no id stay behind",
            partial(rebuild.carry_over, everywhere=everywhere),
            old.rows,
            old.bytes,
        ),
        Work(
            "exchange",
            "the old table is in place",
            "put the new table in its place, atomically",
            rebuild.exchange,
        ),
        *_after_exchange(place, found, rebuild, old),
    ]


def _unfinished(place: Place, found: Found, rebuild: Rebuild) -> Work:
    """Return what becomes of a table that an earlier migration left beside the fills table."""
    left, fills = found.there[NEXT], place.tables.fills
    ours = {column.name for column in (*found.columns[""], *todays_columns())}
    newer = sorted(column.name for column in found.columns[NEXT] if column.name not in ours)
    if newer:
        raise SchemaError(
            f"{fills}{NEXT} has columns this version does not know ({', '.join(newer)}): a newer "
            "version's migration was not finished",
            hint="finish it with that version of kalshi-fills; nothing was changed",
        )
    if found.next_is_copy:
        return Work(
            "unfinished copy",
            "a migration was killed before the exchange",
            "drop the copy and start again",
            rebuild.drop_copy,
            left.rows,
            left.bytes,
        )
    return Work(
        "unfinished migration",
        "it left a table with rows of its own",
        f"keep it as {fills}{rebuild.suffix_unfinished}",
        rebuild.keep_unfinished,
        left.rows,
        left.bytes,
    )


def _after_exchange(place: Place, found: Found, rebuild: Rebuild, old: Table) -> list[Work]:
    everywhere = found.is_local(old)
    return [
        Work(
            "late rows",
            "rows that a running engine wrote meanwhile",
            "wait for inserts in flight, then copy the rows that came late",
            partial(rebuild.carry_late_rows, everywhere=everywhere),
            old.rows,
            old.bytes,
        ),
        Work(
            "keep aside",
            "the old table with all its rows",
            f"keep it as {place.tables.fills}{rebuild.suffix_kept}",
            partial(rebuild.keep_old, everywhere=everywhere, is_as_recorded=found.is_as_recorded),
            old.rows,
            old.bytes,
        ),
    ]


def _view_is_stale(place: Place, found: Found, suffix: str) -> bool:
    """Return whether a view lacks columns of the table, or reads another one, on any host."""
    views = [found.there[suffix]]
    if found.hosts is not None:
        spread = found.hosts.spread(suffix)
        if spread.lacking:
            return True
        views += spread.tables.values()
    sources = sources_of_view(suffix, place.tables)
    if any(sources_of(view) != sources for view in views):
        return True
    return suffix == VIEW and _stored_columns(found, VIEW) != _stored_columns(found, "")


def _stored_columns(found: Found, suffix: str) -> list[str]:
    return [
        column.name for column in found.columns[suffix] if column.default_kind in ("", "DEFAULT")
    ]


def _require_local(place: Place, found: Found) -> None:
    """Raise if the fills table is replicated, and nothing says how to reach the other hosts."""
    table = found.there.get("")
    if table is not None and not place.tables.replicated and table.engine.startswith("Replicated"):
        raise SchemaError(
            f"{place.tables.database}.{place.tables.fills} is replicated, and the migration has to "
            "be done on all its hosts",
            hint="name the cluster with --cluster (or CLICKHOUSE_CLUSTER); nothing was changed",
        )
