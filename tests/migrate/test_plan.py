"""What is planned follows from what was found; no engine is needed for that."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from kalshi_fills.errors import SchemaError
from kalshi_fills.migrate.found import Found
from kalshi_fills.migrate.place import Place
from kalshi_fills.migrate.plan import plan
from kalshi_fills.migrate.rebuild import Rebuild
from kalshi_fills.warehouse.declared import DeclaredColumn, numbered_migrations, todays_columns
from kalshi_fills.warehouse.ownership import NEXT, Table
from kalshi_fills.warehouse.statements import Tables

STAMP = "20261122T120000Z"
PLACE = Place(None, Tables("kalshi"), datetime(2026, 11, 22, 12, tzinfo=UTC))  # type: ignore[arg-type]
COLUMNS = list(todays_columns())
ALL = frozenset(number for number, _ in numbered_migrations())


def table(suffix: str = "", engine: str = "ReplacingMergeTree") -> Table:
    return Table(f"mm_fills{suffix}", engine, engine, "", "", 3, 100, "identity")


def found(**changes: Any) -> Found:
    nothing = Found(
        there={},
        columns={suffix: [] for suffix in ("", NEXT, "_current", "_runs")},
        engine="Atomic",
        applied=frozenset(),
        hosts=None,
        reasons=(),
        next_is_old=False,
        next_is_copy=False,
        is_as_recorded=False,
    )
    return nothing._replace(**changes)


def steps(state: Found) -> list[str]:
    """Return the names of the steps that have something to do."""
    kept: list[str] = []
    return [work.name for work in plan(PLACE, state, Rebuild(PLACE, kept)) if work.do is not None]


def old(**changes: Any) -> Found:
    """Return what is found where the table must be rebuilt."""
    columns = {**found().columns, "": COLUMNS, NEXT: COLUMNS}
    state = found(there={"": table()}, columns=columns, reasons=["partitioned by day"])
    return state._replace(**changes)


def test_where_nothing_is_there_each_migration_is_applied() -> None:
    assert steps(found(engine=None)) == [
        "database kalshi",
        "0001_create_migrations",
        "0002_create_fills",
        "0003_create_rejected",
        "0004_create_runs",
        "0005_create_current_view",
        "0006_alter_runs",
        "0007_create_settlements",
        "0008_alter_runs",
        "0009_create_by_market_view",
        "0010_create_by_day_view",
    ]


def test_a_table_of_old_is_rebuilt() -> None:
    rebuilding = ["new table", "carry over", "exchange", "late rows", "keep aside"]
    names = steps(old())
    assert [name for name in names if name in rebuilding] == rebuilding
    assert names[-6:] == [
        "0005_create_current_view",
        "0006_alter_runs",
        "0007_create_settlements",
        "0008_alter_runs",
        "0009_create_by_market_view",
        "0010_create_by_day_view",
    ]


@pytest.mark.parametrize(
    ("is_copy", "name"), [(True, "unfinished copy"), (False, "unfinished migration")]
)
def test_what_a_killed_migration_left_is_dropped_only_if_it_is_a_copy(
    is_copy: bool, name: str
) -> None:
    left = old(there={"": table(), NEXT: table(NEXT)}, next_is_copy=is_copy)
    assert name in steps(left)
    assert steps(left).index(name) < steps(left).index("new table")


def test_after_the_exchange_only_late_rows_are_left_to_do() -> None:
    state = old(there={"": table(), NEXT: table(NEXT)}, reasons=(), next_is_old=True, applied=ALL)
    names = steps(state)
    assert names.index("late rows") + 1 == names.index("keep aside")
    assert not {"new table", "carry over", "exchange"} & set(names)


def test_missing_columns_are_added_in_place() -> None:
    some = old(reasons=(), columns={**old().columns, "": COLUMNS[:-2]})
    assert "columns" in steps(some)
    assert "columns" not in steps(old(reasons=()))
    assert "new table" not in steps(some)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (old(engine="Ordinary"), "cannot be exchanged"),
        (old(there={"": table(engine="ReplicatedMergeTree")}), "on all its hosts"),
        (
            old(there={"": table(), NEXT: table(NEXT)}, reasons=()),
            "both of today's schema",
        ),
        (
            old(
                there={"": table(), NEXT: table(NEXT)},
                columns={**old().columns, NEXT: [*COLUMNS, DeclaredColumn("later", "String")]},
            ),
            "columns this version does not know",
        ),
    ],
    ids=["engine", "replicated", "two of today", "newer"],
)
def test_what_cannot_be_done_here_is_refused(state: Found, message: str) -> None:
    with pytest.raises(SchemaError, match=message) as refused:
        steps(state)
    assert "nothing was changed" in refused.value.hint
