"""The rows of an operator's query, as a table, as JSON, and as CSV; every value exact."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from rich.table import Table
from rich.text import Text

from kalshi_fills.host.printable import ascii_json
from kalshi_fills.report.console import harmless, instant, new_console, new_table
from kalshi_fills.warehouse.client import in_utc
from kalshi_fills.words import many

if TYPE_CHECKING:
    from kalshi_fills.warehouse.client import Rows

_NUMBER: Final = re.compile(r"(Nullable\()?(U?Int|Float|Decimal)").match

_TO_QUOTE: Final = re.compile(r'[",\n\r]|^\s|\s$|^$').search

_WIDEST: Final = 100_000

_READABLE: Final = 16
"""Letters of a column to which it can be folded and still be read."""

_GAP: Final = 3
"""Letters between two columns."""


def rows_json(found: Rows) -> dict[str, object]:
    """Return the rows as the contract's JSON: decimals, times and ids are texts."""
    return {
        "command": "query",
        "columns": [
            {"name": name, "type": kind}
            for name, kind in zip(found.columns, found.types, strict=True)
        ],
        "rows": [[_plain(value) for value in row] for row in found],
    }


def show_rows_as_csv(found: Rows) -> None:
    """Print the rows as CSV under the columns' names; NULL is an empty field, unlike ""."""
    for row in (found.columns, *found):
        fields = (
            "" if value is None else _csv_field(harmless(_text(_plain(value)))) for value in row
        )
        sys.stdout.write(",".join(fields) + "\n")


def show_rows(found: Rows) -> None:
    """Print the rows as a table, on a terminal folded to its width.

    Where a terminal has too little room for so many columns, each value has a line of its own.
    """
    console = new_console()
    names = [harmless(name) for name in found.columns]
    rows = [[harmless(_text(_plain(value))) for value in row] for row in found]
    if not console.is_terminal:  # what is read by a program has one line a row
        console.width = _WIDEST
    if console.width < _least_width(names, rows):
        for number, row in enumerate(rows, 1):
            console.print(Text(f"row {number:,}", style="bold"))
            console.print(_one_below_the_other(names, row))
            console.print()
    elif names:
        table = new_table("")
        for name, kind in zip(names, found.types, strict=True):
            table.add_column(Text(name), justify="right" if _NUMBER(kind) else "left")
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(table)
    console.print(many(len(rows), "row"))


def _least_width(names: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Return the width below which a table of these rows would be folded beyond reading."""
    widest = [
        max(len(name), *(len(row[at]) for row in rows)) if rows else len(name)
        for at, name in enumerate(names)
    ]
    return sum(min(width, _READABLE) + _GAP for width in widest)


def _one_below_the_other(names: Sequence[str], row: Sequence[str]) -> Table:
    lines = Table.grid(padding=(0, 2, 0, 0))
    lines.add_column(no_wrap=True)
    lines.add_column(overflow="fold")
    for name, text in zip(names, row, strict=True):
        lines.add_row(Text(name, style="dim"), Text(text))
    return lines


def _csv_field(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _TO_QUOTE(text) else text


def _plain(value: object) -> object:
    """Return a value as JSON has it; what JSON would round or does not know is a text."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, datetime):
        return instant(in_utc(value))
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)


def _text(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return value
    return ascii_json(value)
