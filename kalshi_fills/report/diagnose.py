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
from kalshi_fills.report.console import harmless, instant, new_console, new_table, to_the_second
from kalshi_fills.warehouse.statements import Tables

if TYPE_CHECKING:
    from kalshi_fills.diagnose.run import Diagnosis
    from kalshi_fills.diagnose.survey import QueryResult

_SHOWN_BREAKS: Final = 3

_OF_JSON: Final = {str, int, float, bool, type(None)}

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
            dict(zip(query.columns, row, strict=True))
            for row in zip(*map(_plain_column, zip(*query.rows, strict=True)), strict=True)
        ],
    }


def show_diagnosis(found: Diagnosis, tables: Tables, *, all_breaks: bool = False) -> None:
    """Print the verdict, the causes with evidence, and what to run; then the rest in short."""
    console = new_console()
    console.print(Text(_verdict_line(found, tables), style=_STYLES[found.verdict]))
    start = to_the_second(found.window.start) or "everything"
    console.print(Text(f"window {start} to {to_the_second(found.window.end)}\n"))
    for number, cause in enumerate(found.causes):
        console.print(Text(f"{'root cause' if number == 0 else 'and'}: {cause.name}", style="bold"))
        lines = [cause.explanation, *(f"- {harmless(line)}" for line in cause.evidence)]
        console.print(Padding(Text("\n".join(lines)), (0, 0, 1, 2)))
    if not found.causes and found.verdict != "pass":
        console.print(Text(f"root cause: none known. {found.root_cause.explanation}\n"))
    if found.root_cause.next:
        console.print(Text(f"Next: {found.root_cause.next}\n", style="bold"))
    _show_checks(console, found)
    if found.breaks:
        at_most = None if all_breaks else _SHOWN_BREAKS
        show_breaks(console, found.breaks, found.more_breaks, at_most, "--breaks all")
    if sentence := _queries_that_show_it(found):
        console.print(Text(sentence))
    for note in found.notes:
        console.print(Text(harmless(note)))


def _show_checks(console: Console, found: Diagnosis) -> None:
    table = new_table("checks")
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("observed, and what it means")
    for check in found.checks:
        meaning = Text(harmless(check.observed))
        if check.status != "pass":
            meaning.append(f"\n{check.explanation}", style="dim")
        table.add_row(check.name, Text(check.status, style=_STYLES[check.status]), meaning)
    console.print(table)


def _verdict_line(found: Diagnosis, tables: Tables) -> str:
    return f"{found.verdict.upper()}  {tables.database}.{tables.fills}: {found.summary}"


_MATTERS: Final[Mapping[str, Sequence[str]]] = {
    "prices_valid": ("price_distribution", "rows_that_are_no_fills", "new_against_old"),
    "no_duplicate_rows": ("rows_per_order",),
    "no_periodic_cadence": ("five_minute_pattern",),
}
"""The queries whose rows show why a check fails."""


def _queries_that_show_it(found: Diagnosis) -> str:
    """Return how to see the rows behind the checks that fail; empty if there are none."""
    names = [
        name
        for check in found.checks
        for name in _MATTERS.get(check.name, ())
        if check.status == "fail" and (query := answer(found.queries, name)) and query.rows
    ]
    return f"For the rows see `kalshi-fills diagnose --query` {', '.join(names)}." if names else ""


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


def _plain_column(values: Sequence[object]) -> Sequence[object]:
    return values if set(map(type, values)) <= _OF_JSON else list(map(_plain, values))


def _plain(value: object) -> object:
    """Return a value as JSON has it: times as RFC 3339, decimals and ids as text."""
    if isinstance(value, datetime):
        return instant(value)
    return value if type(value) in _OF_JSON else str(value)
