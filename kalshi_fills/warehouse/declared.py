"""Today's schema as the files of `queries/migrations` declare it; no table is looked at here."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from kalshi_fills.warehouse.ownership import VIEW
from kalshi_fills.warehouse.statements import Statement, load, names, quote_identifier

FILLS_STATEMENT: Final = "migrations/0002_create_fills"


_COLUMN: Final = re.compile(
    r"^    `(\w+)` (.+?)(?: (DEFAULT) (.+?))?(?: CODEC\(.+\))?,?$", re.MULTILINE
)


_ADDED_COLUMN: Final = re.compile(
    r"^ +ADD COLUMN IF NOT EXISTS `(\w+)` (.+?)(?: (DEFAULT) (.+?))?(?: CODEC\(.+\))?"
    r"(?: COMMENT '(?:[^'\\]|\\.|'')*')?(?: AFTER `\w+`| FIRST)?,?$",
    re.MULTILINE,
)


_TARGET: Final = re.compile(r"\b(?:TABLE|VIEW) (?:IF NOT EXISTS )?`mm_fills(\w*)`")


_SORTING_KEY: Final = re.compile(r"^ORDER BY \((.+)\)$", re.MULTILINE)


class Column(NamedTuple):
    """One column of a table."""

    name: str
    type: str


class DeclaredColumn(NamedTuple):
    """One column of a table, with what it is when it is left out."""

    name: str
    type: str
    default_kind: str = ""
    """DEFAULT, MATERIALIZED, ALIAS, EPHEMERAL, or none."""
    default: str = ""

    @property
    def sql(self) -> str:
        """The column as a statement declares it."""
        default = f" {self.default_kind} {self.default}" if self.default_kind else ""
        return f"{quote_identifier(self.name)} {self.type}{default}"


def numbered_migrations() -> list[tuple[int, Statement]]:
    """Return the numbered migrations, in order."""
    return [(int(name.split("/")[1][:4]), load(name)) for name in names("migrations")]


def migration_label(statement: Statement) -> str:
    """Return how the ledger names a migration."""
    return statement.name.removeprefix("migrations/")


def suffix_of(statement: Statement) -> str:
    """Return the suffix of the table, or the view, that a migration makes or changes."""
    match = _TARGET.search(statement.text)
    assert match is not None, statement.name
    return match.group(1)


def added_columns(statement: Statement) -> list[DeclaredColumn]:
    """Return the columns that a migration adds to a table that is there, in order."""
    return [DeclaredColumn(*found) for found in _ADDED_COLUMN.findall(statement.text)]


def all_suffixes() -> list[str]:
    """Return the suffixes of all that the migrations make, the view among them, in that order."""
    return list(dict.fromkeys(suffix_of(statement) for _, statement in numbered_migrations()))


OUR_TABLES: Final = tuple(sorted({*all_suffixes()} - {"", VIEW}))
"""Suffixes of the tool's own tables beside the fills table."""


def first_columns() -> list[DeclaredColumn]:
    """Return the columns that a fills table is made with, in order; statements name each."""
    return [DeclaredColumn(*found) for found in _COLUMN.findall(load(FILLS_STATEMENT).text)]


def todays_columns() -> list[DeclaredColumn]:
    """Return the columns of today's fills table, those of later migrations last."""
    return [
        *first_columns(),
        *(
            column
            for _, statement in numbered_migrations()
            if suffix_of(statement) == ""
            for column in added_columns(statement)
        ),
    ]


def wanted_columns() -> list[Column]:
    """Return names and types of the columns of today's fills table."""
    return [Column(column.name, column.type) for column in todays_columns()]


def wanted_sorting_key() -> str:
    """Return the sort key of today's fills table as the engine prints it."""
    match = _SORTING_KEY.search(load(FILLS_STATEMENT).text)
    assert match is not None
    return match.group(1)
