"""What a migration did, as a table and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.filesize import decimal
from rich.text import Text

from kalshi_fills.report.console import new_console, new_table, shortened
from kalshi_fills.warehouse.statements import Tables
from kalshi_fills.words import many

if TYPE_CHECKING:
    from kalshi_fills.migrate.run import MigrationReport


def migration_json(report: MigrationReport) -> dict[str, object]:
    """Return a migration as the contract's JSON."""
    return {
        "command": "migrate",
        "changed": report.changed,
        "dry_run": report.dry_run,
        "steps": [step._asdict() for step in report.steps],
        "kept": report.kept,
        "columns": report.columns,
    }


def show_migration(report: MigrationReport, tables: Tables) -> None:
    """Print a migration's steps as a table, and what to run next."""
    console = new_console()
    table = new_table(f"migrate {tables.database}.{tables.fills}")
    table.add_column("step", no_wrap=True)
    table.add_column("what was found, and what is done")
    table.add_column("status", no_wrap=True)
    for step in report.steps:
        idle = step.status == "nothing to do"
        text = step.found if idle else f"{shortened(step.found)}: {step.action}"
        if step.rows is not None:
            text += f" ({many(step.rows, 'row')}, {decimal(step.bytes or 0, precision=0)})"
        took = f" {step.seconds:.2f} s" if step.status == "done" else ""
        table.add_row(step.name, Text(text), "-" if idle else step.status + took)
    console.print(table)
    for kept in report.kept:
        console.print(Text(f"Kept aside with every row: {kept}"))
    if report.dry_run:
        console.print(
            "Nothing was written. Run `kalshi-fills migrate` to do it."
            if report.changed
            else "Nothing to do."
        )
    elif report.changed:
        console.print("The tables are today's. Next: `kalshi-fills sync`.")
    else:
        console.print("Nothing to do: the tables are today's. Next: `kalshi-fills sync`.")
