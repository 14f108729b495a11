"""What a diagnosis found, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kalshi_fills.report.answers import answer, records
from kalshi_fills.report.breaks import break_json, show_breaks
from kalshi_fills.report.console import harmless, instant, many, new_console, new_table
from kalshi_fills.warehouse.statements import Tables

if TYPE_CHECKING:
    from kalshi_fills.diagnose.run import Diagnosis
    from kalshi_fills.diagnose.survey import QueryResult

_SHOWN_ROWS: Final = 5

_STYLES: Final = {"pass": "green", "warn": "yellow", "fail": "bold red", "skip": "dim"}


def diagnosis_json(found: Diagnosis) -> dict[str, object]:
    """Return a diagnosis as the contract's JSON."""
    return {
        "command": "diagnose",
        "verdict": found.verdict,
        "offline": found.offline,
        "window": {"start": instant(found.window.start), "end": instant(found.window.end)},
        "compared": found.compared.as_dict(),
        "checks": [check._asdict() for check in found.checks],
        "queries": [query_json(query) for query in found.queries],
        "breaks": [break_json(one) for one in found.breaks],
        "more_breaks": found.more_breaks,
        "root_cause": found.root_cause._asdict(),
        "root_causes": [cause._asdict() for cause in found.causes],
        "hours": [
            {"hour": instant(both.hour), "exchange": both.exchange, "table": both.table}
            for both in found.hours
        ],
        "notes": found.notes,
        "requests": found.requests,
        "elapsed_seconds": found.elapsed_seconds,
    }


def query_json(query: QueryResult) -> dict[str, object]:
    """Return the answer of one diagnostic query as JSON, each row as an object."""
    return {
        "name": query.name,
        "title": query.title,
        "rows": [
            {name: _plain(value) for name, value in record.items()} for record in records(query)
        ],
    }


def show_diagnosis(found: Diagnosis, tables: Tables) -> None:
    """Print the verdict, the checks, the causes with evidence, the breaks, and what to run."""
    console = new_console()
    console.print(Text(_verdict_line(found, tables), style=_STYLES[found.verdict]))
    end = instant(found.window.end.replace(microsecond=0))
    start = found.window.start and instant(found.window.start.replace(microsecond=0))
    console.print(Text(f"window {start or 'everything'} to {end}\n"))
    table = new_table("checks")
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("observed, expected, and what it means")
    for check in found.checks:
        meaning = Text(harmless(check.observed))
        if check.status in ("fail", "warn"):
            meaning.append(f"\nexpected: {check.expected}\n{check.explanation}", style="dim")
        elif check.status == "skip":
            meaning.append(f"\n{check.explanation}", style="dim")
        table.add_row(check.name, Text(check.status, style=_STYLES[check.status]), meaning)
    console.print(table)
    for number, cause in enumerate(found.causes):
        console.print(Text(f"{'root cause' if number == 0 else 'and'}: {cause.name}", style="bold"))
        lines = [cause.explanation, *(f"- {harmless(line)}" for line in cause.evidence)]
        console.print(Padding(Text("\n".join(lines)), (0, 0, 1, 2)))
    if not found.causes and found.verdict != "pass":
        console.print(Text(f"root cause: none known. {found.root_cause.explanation}"))
    if found.breaks:
        show_breaks(console, found.breaks, found.more_breaks, _SHOWN_ROWS)
    if found.verdict != "pass":
        _show_rows_that_matter(console, found)
    for note in found.notes:
        console.print(Text(harmless(note)))
    if found.root_cause.next:
        console.print(Text(f"Next: {found.root_cause.next}", style="bold"))


def _verdict_line(found: Diagnosis, tables: Tables) -> str:
    return f"{found.verdict.upper()}  {tables.database}.{tables.fills}: {found.summary}"


_MATTERS: Final[Mapping[str, Mapping[str, Sequence[str]]]] = {
    "prices_valid": {
        "price_distribution": ("price_in_cents", "rows", "percent"),
        "rows_that_are_no_fills": ("problem", "payload", "rows", "orders"),
        "new_against_old": ("writer", "against_window", "rows", "price_0", "without_fill_id"),
    },
    "no_duplicate_rows": {"rows_per_order": ("order_id", "rows", "fill_ids")},
    "no_periodic_cadence": {
        "five_minute_pattern": ("five_minutes", "rows", "lowest_minute", "highest_minute")
    },
}
"""The queries, and their columns, of which a few rows are shown when a check fails."""


def _show_rows_that_matter(console: Console, found: Diagnosis) -> None:
    for check in found.checks:
        if check.status != "fail":
            continue
        garbage = answer(found.queries, "rows_that_are_no_fills")
        garbage_in_window = garbage is not None and bool(garbage.rows)
        for name, columns in _MATTERS.get(check.name, {}).items():
            if check.name == "prices_valid" and (name == "new_against_old") == garbage_in_window:
                continue  # what lies outside the window shows in new_against_old only
            query = answer(found.queries, name)
            if query is not None and query.rows:
                console.print(_query_table(query, columns, _SHOWN_ROWS))
                left = len(query.rows) - _SHOWN_ROWS
                rest = f"{many(left, 'more row')} and " if left > 0 else ""
                console.print(Text(f"{rest}all columns: kalshi-fills diagnose --query {name}\n"))


def show_query(query: QueryResult) -> None:
    """Print the answer of one diagnostic query in full, and how to read it."""
    console = new_console()
    console.print(_query_table(query, query.columns, len(query.rows)))
    if not query.rows:
        console.print("No rows.")
    console.print(Text(f"Shows: {query.shows}.\nNormal: {query.normal}."))


def _query_table(query: QueryResult, columns: Sequence[str], at_most: int) -> Table:
    table = new_table(query.title)
    found = records(query)
    first = found[0] if found else {}
    for name in columns:
        number = isinstance(first.get(name), int | float)
        table.add_column(name.replace("_", " "), justify="right" if number else "left")
    for record in found[:at_most]:
        table.add_row(*(Text(_cell(record[name])) for name in columns))
    return table


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}" if value.second else f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return harmless(str(value))


def _plain(value: object) -> object:
    """Return a value as JSON has it: times as RFC 3339, decimals and ids as text."""
    if isinstance(value, datetime):
        return instant(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)
