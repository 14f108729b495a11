"""Today's schema as the files of `queries/migrations` declare it; no table is looked at here."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from kalshi_fills.warehouse.ownership import VIEWS, Source
from kalshi_fills.warehouse.statements import Statement, Tables, load, names, quote_identifier

FILLS_STATEMENT: Final = "migrations/0002_create_fills"
"""Makes the fills table with the columns that statements name; later migrations add others."""


_COLUMN: Final = re.compile(
    r"^    `(\w+)` (.+?)(?: (DEFAULT) (.+?))?(?: CODEC\(.+\))?,?$", re.MULTILINE
)


_ADDED_COLUMN: Final = re.compile(
    r"^ +ADD COLUMN IF NOT EXISTS `(?P<name>\w+)` (?P<type>.+?)"
    r"(?: (?P<default_kind>DEFAULT) (?P<default>.+?))?"
    r"(?: COMMENT '(?:[^'\\]|\\.|'')*')?(?: CODEC\(.+?\))?(?: AFTER `(?P<after>\w+)`)?,?$",
    re.MULTILINE,
)

_SUBJECT: Final = re.compile(
    r"^(?:CREATE TABLE IF NOT EXISTS|CREATE OR REPLACE VIEW|ALTER TABLE) `mm_fills(\w*)`",
    re.MULTILINE,
)

_READ: Final = re.compile(r"^ *FROM `mm_fills(\w*)` FINAL$", re.MULTILINE)

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


class AddedColumn(NamedTuple):
    """One column that a migration adds to a table."""

    column: DeclaredColumn
    after: str
    """The column it is placed behind; empty for the end."""


def numbered_migrations() -> list[tuple[int, Statement]]:
    """Return the numbered migrations, in order."""
    return [(int(name.split("/")[1][:4]), load(name)) for name in names("migrations")]


def migration_label(statement: Statement) -> str:
    """Return how the ledger names a migration."""
    return statement.name.removeprefix("migrations/")


def subject_of(statement: Statement) -> str:
    """Return the suffix of the table or view that a migration creates or alters."""
    match = _SUBJECT.search(statement.text)
    if match is None:
        raise ValueError(f"{statement.name} neither creates nor alters a table of the tool")
    return match.group(1)


def added_columns(statement: Statement) -> list[AddedColumn]:
    """Return the columns that a migration adds to its table, in order."""
    return [
        AddedColumn(
            DeclaredColumn(
                found["name"], found["type"], found["default_kind"] or "", found["default"] or ""
            ),
            found["after"] or "",
        )
        for found in _ADDED_COLUMN.finditer(statement.text)
    ]


SUFFIX_OF: Final = {number: subject_of(statement) for number, statement in numbered_migrations()}
"""Which table each migration is about, from the migrations themselves."""

OUR_TABLES: Final = tuple(sorted({*SUFFIX_OF.values()} - {"", *VIEWS}))
"""Suffixes of the tool's own tables beside the fills table."""


def sources_of_view(suffix: str, tables: Tables) -> set[Source]:
    """Return the tables that today's view of this suffix reads."""
    numbers = [number for number, subject in SUFFIX_OF.items() if subject == suffix]
    statement = dict(numbered_migrations())[max(numbers)]
    return {Source(tables.database, tables.fills + of) for of in _READ.findall(statement.text)}


def first_columns() -> list[DeclaredColumn]:
    """Return the columns that the fills table is created with, in order.

    Statements that copy rows name these; a column that a later migration added is copied as one of
    the operator's own is.
    """
    return [DeclaredColumn(*found) for found in _COLUMN.findall(load(FILLS_STATEMENT).text)]


def todays_columns() -> list[DeclaredColumn]:
    """Return the columns of today's fills table with their defaults, in order.

    These are the columns it is created with and those that later migrations add.
    """
    found = first_columns()
    for _, statement in numbered_migrations():
        if subject_of(statement) == "":
            for column, after in added_columns(statement):
                places = [place for place, one in enumerate(found, 1) if one.name == after]
                found.insert(places[0] if places else len(found), column)
    return found


def wanted_columns() -> list[Column]:
    """Return names and types of the columns of today's fills table."""
    return [Column(column.name, column.type) for column in todays_columns()]


def wanted_sorting_key() -> str:
    """Return the sort key of today's fills table as the engine prints it."""
    match = _SORTING_KEY.search(load(FILLS_STATEMENT).text)
    assert match is not None
    return match.group(1)
