"""Rebuilding a fills table: a new one beside it, the fills carried over, the two exchanged.

No row of the old table is ever destroyed: it is kept under its dated name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import uuid4

from kalshi_fills.migrate.place import Place
from kalshi_fills.pipeline.fills import CLOCK_TOLERANCE
from kalshi_fills.warehouse.client import select_one
from kalshi_fills.warehouse.declared import (
    FILLS_STATEMENT,
    SUFFIX_OF,
    DeclaredColumn,
    added_columns,
    numbered_migrations,
)
from kalshi_fills.warehouse.in_flight import wait_for_inserts
from kalshi_fills.warehouse.ownership import NEXT
from kalshi_fills.warehouse.runs import RunLedger, table_state
from kalshi_fills.warehouse.schema import own_columns
from kalshi_fills.words import many, one_or_more


class _FillCount(NamedTuple):
    fills: int


class _RowCount(NamedTuple):
    rows: int


class Rebuild:
    """One rebuild of a fills table, act by act; `plan` decides which of them are due."""

    def __init__(self, place: Place, kept: list[str]) -> None:
        """Prepare a rebuild; nothing is changed.

        Args:
            place: where.
            kept: is added the names of the tables that are kept aside.
        """
        self._place = place
        self._kept = kept
        self._carried = 0

    @property
    def suffix_kept(self) -> str:
        """The suffix under which the old table is kept."""
        return f"_legacy_{self._place.stamp}"

    @property
    def suffix_unfinished(self) -> str:
        """The suffix under which the table of an earlier, unfinished migration is kept."""
        return f"{self.suffix_kept}_unfinished"

    def create_next(self, extra: Sequence[DeclaredColumn]) -> None:
        """Create the new table, with the old one's extra columns, which writers go on filling."""
        warehouse, tables, _ = self._place
        self._place.run(FILLS_STATEMENT, {"": NEXT})
        for number, statement in numbered_migrations():
            if not SUFFIX_OF[number] and added_columns(statement):
                self._place.run(statement.name, {"": NEXT})
        for column in extra:
            warehouse.command(
                f"ALTER TABLE {tables.name(NEXT)}{tables.on_cluster} ADD COLUMN IF NOT EXISTS "
                f"{column.sql}"
            )

    def drop_copy(self) -> None:
        """Drop an unfinished copy."""
        self._place.run("schema/drop_next", {"__copy": NEXT})

    def keep_unfinished(self) -> None:
        """Keep what an earlier migration left, since it holds rows that are no copies."""
        self._keep(self.suffix_unfinished)

    def carry_over(self, *, everywhere: bool) -> str:
        """Copy the fills of the old table, each once, into the new one beside it."""
        self._carry_over("", NEXT, everywhere)
        return f"{many(self._carried, 'fill')} copied"

    def exchange(self) -> None:
        """Put the new table into the old one's place, atomically."""
        self._place.run("schema/exchange", {"__new": NEXT, "__old": ""})

    def carry_late_rows(self, *, everywhere: bool) -> str:
        """Copy what was written to the old table before the exchange and came after the copy."""
        before = self._carried
        wait_for_inserts(self._place.warehouse, self._place.tables)
        self._carry_over(NEXT, "", everywhere)
        late = self._carried - before
        return f"{many(late, 'fill')} had come late" if before else "copied again"

    def keep_old(self, *, everywhere: bool, is_as_recorded: bool) -> str:
        """Keep the old table under its dated name, and have the ledger know the new one.

        Args:
            everywhere: whether its rows are counted on all hosts.
            is_as_recorded: the old table was the one that the ledger knows. Only a rebuild of that
                one which keeps every fill may count as the same table.
        """
        warehouse, tables, now = self._place
        self._keep(self.suffix_kept)
        total = self._count_rows(self.suffix_kept, everywhere)
        if is_as_recorded:
            state = table_state(warehouse, tables, None)._replace(rows=self._carried)
            RunLedger(warehouse, tables, uuid4()).note_rebuild(state, now)
        rows = one_or_more(total, "its one row", f"all {total:,} rows")
        carried, rest = self._carried, total - self._carried
        left = one_or_more(
            rest,
            "is no valid fill, has no id, or repeats a fill",
            "are no valid fills, have no id, or repeat a fill",
        )
        return (
            f"kept as {tables.fills}{self.suffix_kept} with {rows}: "
            f"{many(carried, 'fill')} {one_or_more(carried, 'was', 'were')} carried over, "
            f"{many(rest, 'row')} {left}"
        )

    def _keep(self, suffix: str) -> None:
        self._place.run("schema/keep_aside", {"__old": NEXT, "__kept": suffix})
        self._kept.append(self._place.tables.fills + suffix)

    def _carry_over(self, source: str, to: str, everywhere: bool) -> None:
        warehouse, tables, now = self._place
        statement = tables.sql(
            "schema/carry_over",
            suffixes={"__to": to, "__from": source},
            own_columns=own_columns(warehouse, tables, source),
            everywhere=everywhere,
        )
        warehouse.command(statement, {"latest": now + CLOCK_TOLERANCE})
        counted = tables.sql("schema/count_carried", suffixes={"__to": to})
        found = select_one(warehouse, _FillCount, counted)
        self._carried = found.fills if found is not None else 0

    def _count_rows(self, suffix: str, everywhere: bool) -> int:
        warehouse, tables, _ = self._place
        statement = tables.sql(
            "schema/count_rows", suffixes={"__counted": suffix}, everywhere=everywhere
        )
        found = select_one(warehouse, _RowCount, statement)
        return found.rows if found is not None else 0
