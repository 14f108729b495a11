"""What a truncation did, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TextIO

from rich.filesize import decimal
from rich.text import Text

from kalshi_fills.pipeline.fills import MEANING, Reason
from kalshi_fills.report.console import harmless, instant, new_console, new_table
from kalshi_fills.warehouse.statements import Tables
from kalshi_fills.words import many, one_or_more

if TYPE_CHECKING:
    from kalshi_fills.truncate.plan import TruncationReport


def truncation_json(report: TruncationReport, tables: Tables) -> dict[str, object]:
    """Return a truncate as the contract's JSON; of a plan, what it would remove."""
    return {
        "command": "truncate",
        "database": tables.database,
        "table": tables.fills,
        "what": report.what,
        "before": instant(report.before),
        "dry_run": report.dry_run,
        "rows_before": report.rows_before,
        "rows_removed": report.rows_removed,
        "rows_left": report.rows_left,
        "rows_mended": report.rows_repaired,
        "rows_late": report.rows_late,
        "removed": [removed._asdict() for removed in report.removed],
        "backup": report.backup if report.acted else None,
        "restored": report.restored,
        "watermark": instant(report.watermark if report.acted else report.watermark_before),
        "backups": [
            {**backup._asdict(), "created": instant(backup.created)} for backup in report.backups
        ],
        "kept_aside": report.kept_aside,
        "unfinished": report.unfinished,
        "other_hosts": report.other_hosts,
        "next": report.next,
    }


def show_truncation(report: TruncationReport, tables: Tables, stream: TextIO) -> None:
    """Print what a truncate did or, before it acts, what it would do."""
    console = new_console(stream)
    acted = report.acted
    title = f"truncate {tables.database}.{tables.fills}"
    table = new_table(title)
    table.min_width = len(title)  # or the title is wrapped to the width of the columns
    table.add_column("rows")
    table.add_column("count", justify="right")
    size = f" ({decimal(report.bytes_before, precision=0)})" if report.bytes_before else ""
    table.add_row(f"before{size}" if acted else f"there now{size}", f"{report.rows_before:,}")
    goes = "removed" if acted else "to be removed"
    for removed in report.removed:
        table.add_row(Text(f"{goes}: {_why_removed(removed.reason, report)}"), f"{removed.rows:,}")
    if not report.removed and report.rows_removed:
        table.add_row(f"{goes}: every row", f"{report.rows_removed:,}")
    if report.restored is not None:
        table.add_row("restored" if acted else "to be restored", f"{report.rows_restored:,}")
    table.add_row("left" if acted else "to stay", f"{report.rows_left:,}")
    console.print(table)
    for sentence in _sentences(report):
        console.print(Text(sentence))


def show_backups(report: TruncationReport, tables: Tables, now: datetime) -> None:
    """Print the backups, oldest first, each with the statement that drops it."""
    console = new_console()
    if report.backups:
        table = new_table(f"backups of {tables.database}.{tables.fills}")
        table.add_column("name", no_wrap=True)
        for name in ("rows", "size", "age"):
            table.add_column(name, justify="right")
        for backup in report.backups:
            size = decimal(backup.bytes, precision=0)
            table.add_row(backup.name, f"{backup.rows:,}", size, _age(now - backup.created))
        console.print(table)
        console.print("Bring one back: `kalshi-fills truncate --restore NAME`. To drop one:")
        for backup in report.backups:
            console.print(Text(backup.drop), soft_wrap=True)
    else:
        console.print(f"{tables.database}.{tables.fills} has no backups.")
    if kept := len(report.kept_aside):
        console.print(f"Old tables that migrate keeps aside, besides: {kept:,}.")


def _why_removed(reason: str, report: TruncationReport) -> str:
    if reason == "older":
        return f"older than {instant(report.before)}"
    if reason == "repeat":
        return "repeats a fill that stays"
    return MEANING[Reason(reason)]


def _sentences(report: TruncationReport) -> Iterator[str]:
    yield from report.unfinished
    if not report.acted and not report.has_work:
        yield "Nothing to remove: every row stays, and no backup is made."
    elif report.acted:
        yield from _sentences_of_removal(report)
    else:
        yield from _sentences_of_plan(report)
    for host in report.other_hosts:
        yield (
            f"A sync on {harmless(host)} has not recorded its end. If it is still running, it does "
            "not move the watermark past what was removed."
        )
    if report.dry_run:
        yield "Nothing was written."


def _sentences_of_plan(report: TruncationReport) -> Iterator[str]:
    if report.rows_repaired:
        gets = one_or_more(report.rows_repaired, "gets", "get")
        yield f"{many(report.rows_repaired, 'fill')} {gets} the id that is only in the payload."
    if report.rows_removed and report.backup is not None:
        yield f"What is removed is kept as {report.backup} until you drop it."
    elif report.rows_removed:
        yield "What is removed is gone for good, because of --no-backup."
    if report.watermark != report.watermark_before:
        to = instant(report.watermark) or "none: the next sync reads everything again"
        yield f"The watermark goes back from {instant(report.watermark_before)} to {to}."


def _sentences_of_removal(report: TruncationReport) -> Iterator[str]:
    if report.rows_repaired:
        yield f"{many(report.rows_repaired, 'fill')} got the id that was only in the payload."
    if report.rows_late > 0:
        are = one_or_more(report.rows_late, "is", "are")
        yield f"{many(report.rows_late, 'row')} came in the meantime and {are} in these counts."
    if report.backup is not None:
        yield f"Kept as {report.backup}; to bring it back:"
        yield f"`kalshi-fills truncate --restore {report.backup}`"
    if report.backup_holds_all_rows:
        yield "The backup is the whole old table, so the rows that stayed are in both."
    mark = instant(report.watermark) or "none: the next sync reads everything again"
    yield f"watermark {mark}"
    then = ", then `kalshi-fills sync`" if report.legacy else ""
    if report.what == "garbage":
        yield f"No valid fill was removed. Next: `{report.next}`{then}."
    else:
        yield f"Next, to read the fills from the exchange again: `{report.next}`{then}."


def _age(age: timedelta) -> str:
    if age.days:
        return f"{age.days:,} d"
    hours, minutes = divmod(max(age.seconds, 0) // 60, 60)
    return f"{hours} h" if hours else f"{minutes} min"
