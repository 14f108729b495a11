"""What bears one of our names, and whether it is ours.

A table or view of ours bears a mark, its comment. The view of fills has none and is known by what
it reads; the fills table itself, which may be older than any mark, by its columns. A name alone
proves nothing: whatever else stands under one of our names belongs to somebody else, and is
neither read, replaced nor dropped.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final, NamedTuple

MARK: Final = "kalshi-fills: "
"""What the comment of every table of ours begins with."""

VIEW: Final = "_current"
"""Suffix of the view of fills."""

SUMMARIES: Final = ("_by_market", "_by_day")
"""Suffixes of the views that add fills up."""

VIEWS: Final = (VIEW, *SUMMARIES)
"""Suffixes of all views."""

NEXT: Final = "__next"
"""Suffix of a new table while migrate fills it, and of the old one just after the exchange."""

FILLS_COLUMNS: Final = frozenset(("ts", "market_ticker", "exchange_order_id"))
"""Columns that every fills table has, whatever its age."""

_NAME: Final = r"(`(?:[^`\\]|\\.|``)*`|[A-Za-z_]\w*)"

_VIEW_OF_FILLS: Final = re.compile(
    r"SELECT \* FROM " + _NAME + r"\." + _NAME + " FINAL",  # noqa: S608 - a pattern
    re.DOTALL,
).fullmatch

_READ_BY_SUMMARY: Final = re.compile(rf"\bFROM {_NAME}\.{_NAME} FINAL\b")

_ESCAPED: Final = re.compile(r"\\(.)|``", re.DOTALL)

_CONTROL: Final[Mapping[str, str]] = {
    "n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "f": "\f", "a": "\a", "v": "\v",
}  # fmt: skip


class Table(NamedTuple):
    """What is there under one of our names."""

    name: str
    engine: str
    engine_full: str
    sorting_key: str
    partition_key: str
    rows: int | None
    bytes: int | None
    identity: str
    """What stays with the rows when two tables are exchanged."""
    comment: str = ""
    select: str = ""
    """What a view reads, as the engine prints it."""

    @property
    def is_marked(self) -> bool:
        """Return whether it is a table that bears our mark."""
        return "MergeTree" in self.engine and self.comment.startswith(MARK)

    @property
    def is_replicated(self) -> bool:
        """Return whether every replica of the table has, or is to have, all its rows."""
        return self.engine.startswith(("Replicated", "Shared"))


class Source(NamedTuple):
    """The table that a view of fills reads."""

    database: str
    table: str


def source_of(view: Table) -> Source | None:
    """Return the table that a view of fills reads; None for anything but such a view."""
    match = _VIEW_OF_FILLS(view.select.strip()) if view.engine == "View" else None
    return Source(*map(_unquoted, match.groups())) if match else None


def sources_of(view: Table) -> set[Source]:
    """Return the tables of ours that a view of ours reads; none for anything but a view."""
    if view.engine != "View":
        return set()
    found = _READ_BY_SUMMARY.findall(view.select)
    return {Source(*map(_unquoted, names)) for names in found}


def is_fills_table(table: Table, columns: Collection[str]) -> bool:
    """Return whether a table is one of fills, of whatever age and under whatever name."""
    return "MergeTree" in table.engine and set(columns) >= FILLS_COLUMNS


def not_ours(
    there: Mapping[str, Table], suffixes: Collection[str], columns_of_view: Collection[str]
) -> Iterator[tuple[Table, str]]:
    """Yield what stands under these names of ours and is not ours, and what it is instead.

    Args:
        there: what stands beside the fills table, by suffix.
        suffixes: those of the tool's own tables, without the fills table itself.
        columns_of_view: the columns of what bears the view's name.
    """
    for suffix in sorted(suffixes):
        table = there.get(suffix)
        if table is None:
            continue
        if suffix == VIEW:
            if source_of(table) is None or not set(columns_of_view) >= FILLS_COLUMNS:
                yield table, "it is not a view of fills that this tool made"
        elif suffix in SUMMARIES:
            if table.engine != "View" or not table.comment.startswith(MARK):
                yield table, f"it is not a view whose comment begins with {MARK.strip()!r}"
        elif "MergeTree" not in table.engine:
            yield table, f"its engine is {table.engine}"
        elif not table.is_marked:
            yield table, f"its comment does not begin with {MARK.strip()!r}"


def _unquoted(name: str) -> str:
    if not name.startswith("`"):
        return name
    return _ESCAPED.sub(
        lambda match: _CONTROL.get(match.group(1), match.group(1)) if match.group(1) else "`",
        name[1:-1],
    )
