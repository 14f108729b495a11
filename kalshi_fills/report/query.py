"""The rows of an operator's query, as a table, as JSON, and as CSV; every value exact."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

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
    """Print the rows as a table, on a terminal folded to its width."""
    console = new_console()
    table = new_table("")
    for name, kind in zip(found.columns, found.types, strict=True):
        table.add_column(Text(harmless(name)), justify="right" if _NUMBER(kind) else "left")
    for row in found:
        table.add_row(*(Text(harmless(_text(_plain(value)))) for value in row))
    if found.columns:
        if not console.is_terminal:  # what is read by a program has one line a row
            console.width = _WIDEST
        console.print(table)
    console.print(many(len(found), "row"))


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
