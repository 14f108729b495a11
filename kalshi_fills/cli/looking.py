"""The commands that only look at the tables: `status` and `query`; neither needs an API key."""

from __future__ import annotations

from typing import Annotated

import typer

from kalshi_fills.cli.app import begin, command
from kalshi_fills.cli.connections import open_warehouse
from kalshi_fills.cli.options import duration
from kalshi_fills.cli.settings import FORMATS
from kalshi_fills.report.console import show
from kalshi_fills.report.progress import spinner


@command
def status(
    ctx: typer.Context,
    max_age: Annotated[
        str, typer.Option(metavar="D", help="How long ago the last successful sync may be.")
    ] = "2h",
) -> int:
    """Show whether the syncs are up to date, for people, monitors and probes.

    Reads the tool's own tables only, and needs no API key. Ends with 3 if something is open, or if
    the last successful sync is older than --max-age.
    """
    from kalshi_fills.diagnose.run import settled_markets_differing
    from kalshi_fills.report.status import show_status, status_json
    from kalshi_fills.warehouse.status import read_status

    context = begin(ctx, needs_exchange=False)
    oldest = duration(max_age, "--max-age", context.mistakes)
    context.mistakes.raise_if_any()
    settings, now = context.settings, context.now
    with spinner(), open_warehouse(settings, read_only=True) as warehouse:
        found = read_status(warehouse, settings.tables)
        differing = settled_markets_differing(warehouse, settings.tables, now)
        found = found._replace(settled_markets_differing=differing)
    if context.json:
        show(status_json(found, settings.tables, now, oldest))
    else:
        show_status(found, settings.tables, now, oldest)
    return 3 if found.is_open() or found.is_late(now, oldest) else 0


@command
def query(
    ctx: typer.Context,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One statement that reads.")],
) -> None:
    """Run one read-only query of yours, in the tables' database.

    Works on a server and on the embedded engine, needs no API key, and changes nothing. For
    example: kalshi-fills query 'SELECT count() FROM mm_fills_current'
    """
    from kalshi_fills.report.query import rows_json, show_rows, show_rows_as_csv
    from kalshi_fills.warehouse.own_query import run_own_query

    context = begin(ctx, needs_exchange=False, formats=(*FORMATS, "csv"))
    if not sql.strip():
        context.mistakes.add(
            "the query is empty", "write it in quotes: kalshi-fills query 'SHOW TABLES'"
        )
    context.mistakes.raise_if_any()
    settings = context.settings
    with spinner(), open_warehouse(settings, read_only=True) as warehouse:
        found = run_own_query(warehouse, settings.tables.database, sql)
    if context.json:
        show(rows_json(found))
    elif settings.format == "csv":
        show_rows_as_csv(found)
    else:
        show_rows(found)
