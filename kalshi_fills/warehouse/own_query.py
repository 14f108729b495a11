"""A query of the operator's: one statement that reads, whatever it is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from kalshi_fills.errors import KalshiFillsError, SettingsError, WarehouseError
from kalshi_fills.warehouse.client import Code, Rows, select_one

if TYPE_CHECKING:
    from kalshi_fills.warehouse.client import Warehouse

_CANONICAL: Final = "SELECT formatQuerySingleLine({query:String}) AS text"
"""The engine's own spelling: comments are gone, and what is inserted stands first."""

_READS: Final = re.compile(r"\(*\s*(SELECT|WITH|SHOW|DESCRIBE|EXPLAIN|EXISTS)\b").match

_WRITES_A_FILE: Final = re.compile(r"\boutfile\b", re.IGNORECASE).search
"""Refused wherever it stands: the embedded engine would write the file in spite of `readonly`."""

_FORMAT: Final = re.compile(r"\bFORMAT \w+$").search

_TOO_FINE: Final = re.compile(r"DateTime64\([7-9]").search

_HINT: Final = "check the statement; `kalshi-fills query 'SHOW TABLES'` lists the tables"


class _Canonical(NamedTuple):
    text: str


def run_own_query(warehouse: Warehouse, database: str, query: str) -> Rows:
    """Return the rows of a query that can change nothing; its names are those of the database.

    Raises:
        SettingsError: it is no single statement that reads.
        WarehouseError: it could not be run, or its values cannot be shown exactly.
    """
    try:
        warehouse.only_read(database)
    except WarehouseError as error:
        if error.code != Code.UNKNOWN_DATABASE:
            raise
        raise WarehouseError(
            f"there is no database {database} yet",
            hint="run `kalshi-fills migrate`, or name another database in CLICKHOUSE_URL",
            code=error.code,
        ) from error
    try:
        _require_reading(warehouse, query)
        found = warehouse.rows(query)
    except WarehouseError as error:
        raise _refused(error) from error
    for name, kind in zip(found.columns, found.types, strict=True):
        if _TOO_FINE(kind):
            raise WarehouseError(
                f"the column {name} has times finer than a microsecond",
                hint="select them as text: toString(…)",
            )
    return found


def _require_reading(warehouse: Warehouse, query: str) -> None:
    if _WRITES_A_FILE(query):
        raise SettingsError(
            "a query writes no files", hint="leave INTO OUTFILE out, and redirect the output"
        )
    canonical = select_one(warehouse, _Canonical, _CANONICAL, {"query": query})
    assert canonical is not None, "a SELECT without FROM has one row"
    if not _READS(canonical.text):
        raise SettingsError(
            "a query only reads", hint="begin it with SELECT, WITH, SHOW, DESCRIBE or EXPLAIN"
        )
    if _FORMAT(canonical.text):
        raise SettingsError(
            "the FORMAT of a query is that of --format",
            hint="leave FORMAT out, and use --format table, json or csv",
        )


def _refused(error: WarehouseError) -> KalshiFillsError:
    sentence = error.message.split(": In scope ")[0].rstrip(". :")
    if error.code == Code.SYNTAX_ERROR and "Multi-statements" in sentence:
        return SettingsError("a query is one statement", hint="run one statement after the other")
    if error.code == Code.UNKNOWN_TYPE:
        return WarehouseError(
            "a column of the query has a type that cannot be shown",
            hint="select it as text: toString(…)",
            code=error.code,
        )
    refused = "migrate" in error.hint
    return WarehouseError(sentence, hint=_HINT if refused else error.hint, code=error.code)
