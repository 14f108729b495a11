"""How results look: rich tables on stdout for people, one JSON object for scripts.

It adds up nothing but totals and decides no exit code. Every text that came from outside is
printed as it is, never as markup.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.filesize import decimal
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from kalshi_fills.fills import MEANING, Reason, Stage
from kalshi_fills.pipeline import Counts, percent
from kalshi_fills.printable import ascii_json, visible, visible_lines
from kalshi_fills.queries import Tables

if TYPE_CHECKING:
    from kalshi_fills.diagnose import Diagnosis
    from kalshi_fills.evidence import QueryResult
    from kalshi_fills.migrations import MigrationReport
    from kalshi_fills.reconcile import Break
    from kalshi_fills.sync import SyncReport
    from kalshi_fills.truncation import TruncationReport

_SHOWN_BREAKS: Final = 20
_SHOWN_KEYS: Final = 8
_SHOWN_ROWS: Final = 5
_STYLES: Final = {"pass": "green", "warn": "yellow", "fail": "bold red", "skip": "dim"}
_SHOWN_LETTERS: Final = 60
_PROGRESS_AFTER_SECONDS: Final = 1.0


def show(result: object) -> None:
    """Print one JSON object on stdout, in ASCII."""
    sys.stdout.write(ascii_json(result) + "\n")


def show_failure(command: str, exit_code: int, message: str, hint: str, form: str) -> None:
    """Print an error and its hint on stderr, and as JSON on stdout where that was asked for."""
    message, hint = visible(message), visible(hint)
    sys.stderr.write(f"error: {message}\nhint: {hint}\n")
    if form == "json":
        show(
            {
                "command": command,
                "status": "failed",
                "exit_code": exit_code,
                "error": message,
                "hint": hint,
            }
        )


def migration_json(report: MigrationReport) -> dict[str, object]:
    """Give a migration as the contract's JSON."""
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
    console = _console()
    table = _table(f"migrate {tables.database}.{tables.fills}")
    table.add_column("step", no_wrap=True)
    table.add_column("what was found, and what is done")
    table.add_column("status", no_wrap=True)
    for step in report.steps:
        idle = step.status == "nothing to do"
        text = step.found if idle else f"{_shortened(step.found)}: {step.action}"
        if step.rows is not None:
            text += f" ({step.rows:,} rows, {decimal(step.bytes or 0, precision=0)})"
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


def sync_json(report: SyncReport) -> dict[str, object]:
    """Give a pass as the contract's JSON."""
    window = report.window
    drift = report.refusals.drift()
    return {
        "command": "sync",
        "run_id": str(report.run_id),
        "status": report.status,
        "dry_run": report.dry_run,
        "window": {
            "start": instant(window.start) if window else None,
            "end": instant(window.end) if window else None,
        },
        "watermark": instant(report.watermark),
        "stages": report.counts.as_dict(),
        "rates": report.counts.rates(),
        "rejected": [
            {
                "stage": str(group.stage),
                "reason": str(group.reason),
                "count": group.count,
                "keys": group.keys,
            }
            for group in report.refusals.groups()
        ],
        "claims_refused": report.claims,
        "refused_everything": report.refused_everything,
        "made_up_ids": report.made_up_ids,
        "conflicts": report.conflicts,
        "new_keys": drift.new_keys,
        "missing_keys": drift.missing_keys,
        "corrections": {
            "by_field": report.corrections.by_field,
            "first": report.corrections.listed,
        },
        "breaks": [found._asdict() for found in report.breaks],
        "more_breaks": report.more_breaks,
        "open_breaks": report.open_breaks,
        "next": _after_breaks(report),
        "notes": report.notes,
        "other_hosts": report.other_hosts,
        "requests": report.requests,
        "elapsed_seconds": report.elapsed_seconds,
    }


def show_sync(report: SyncReport, tables: Tables) -> None:
    """Print a pass as the stage table, the refusals below it, and what the differences mean."""
    console = _console()
    counts = report.counts
    title = f"sync {tables.database}.{tables.fills}"
    if report.dry_run:
        title += " (dry run: nothing was written)"
    table = _table(title)
    table.add_column("stage")
    for name in ("count", "dropped", "pass rate"):
        table.add_column(name, justify="right")
    reached = _stage_counts(counts)
    before = counts.n_api
    for stage, count in reached:
        lost = f"{before - count:,}" if before - count else ""
        rate = "" if stage is Stage.API else percent(count, before)
        if stage is Stage.INSERTED and counts.n_known:
            lost = f"{counts.n_known:,} known" + (
                f", {counts.n_duplicate:,} repeats" if counts.n_duplicate else ""
            )
            rate = "" if count == 0 else rate
        table.add_row(str(stage), f"{count:,}", lost, rate)
        before = count
    console.print(table)
    _show_refusals(console, report)
    for sentence in _meanings(report):
        console.print(Text(sentence))
    _show_breaks(console, report.breaks, report.more_breaks)
    window = report.window
    if window is not None:
        start = instant(window.start) or "the account's first fill"
        console.print(Text(f"window {start} to {instant(window.end)}"))
    mark = instant(report.watermark) or "none: the next run reads everything again"
    console.print(
        Text(f"watermark {mark}  requests {report.requests:,}  {report.elapsed_seconds:.1f} s")
    )
    console.print(Text(f"run {report.run_id}"))
    for note in report.notes:
        console.print(Text(_harmless(note)))
    if command := _after_breaks(report):
        console.print(Text(f"Next: {command}", style="bold"))
    if report.status == "failed":
        console.print(Text(f"The pass failed at the step `{report.stage}`; see the error below."))


def _after_breaks(report: SyncReport) -> str | None:
    """Return the command that names what breaks are about; None where none is open."""
    if report.open_since is None:
        return None
    return f"kalshi-fills diagnose --since {report.open_since:%Y-%m-%dT%H:%M:%SZ}"


def diagnosis_json(found: Diagnosis) -> dict[str, object]:
    """Give a diagnosis as the contract's JSON."""
    return {
        "command": "diagnose",
        "verdict": found.verdict,
        "offline": found.offline,
        "window": {"start": instant(found.window.start), "end": instant(found.window.end)},
        "compared": found.compared.as_dict(),
        "checks": [check._asdict() for check in found.checks],
        "queries": [query_json(query) for query in found.queries],
        "breaks": [one._asdict() for one in found.breaks],
        "more_breaks": found.more_breaks,
        "root_cause": found.root_cause._asdict(),
        "root_causes": [cause._asdict() for cause in found.causes],
        "hours": [
            {"hour": instant(hour), "exchange": exchange, "table": table}
            for hour, exchange, table in found.hours
        ],
        "notes": found.notes,
        "requests": found.requests,
        "elapsed_seconds": found.elapsed_seconds,
    }


def query_json(query: QueryResult) -> dict[str, object]:
    """Give the answer of one diagnostic query, each row as an object."""
    return {
        "name": query.name,
        "title": query.title,
        "rows": [
            {name: _plain(value) for name, value in zip(query.columns, row, strict=True)}
            for row in query.rows
        ],
    }


def show_diagnosis(found: Diagnosis, tables: Tables) -> None:
    """Print the verdict, the checks, the causes with their evidence, breaks, and what to run."""
    console = _console()
    console.print(Text(_verdict_line(found, tables), style=_STYLES[found.verdict]))
    end = instant(found.window.end.replace(microsecond=0))
    start = found.window.start and instant(found.window.start.replace(microsecond=0))
    console.print(Text(f"window {start or 'everything'} to {end}\n"))
    table = _table("checks")
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("observed, expected, and what it means")
    for check in found.checks:
        lines = Text(_harmless(check.observed))
        if check.status in ("fail", "warn"):
            lines.append(f"\nexpected: {check.expected}\n{check.explanation}", style="dim")
        elif check.status == "skip":
            lines.append(f"\n{check.explanation}", style="dim")
        table.add_row(check.name, Text(check.status, style=_STYLES[check.status]), lines)
    console.print(table)
    for number, cause in enumerate(found.causes):
        console.print(Text(f"{'root cause' if number == 0 else 'and'}: {cause.name}", style="bold"))
        told = [cause.explanation, *(f"- {_harmless(line)}" for line in cause.evidence)]
        console.print(Padding(Text("\n".join(told)), (0, 0, 1, 2)))
    if not found.causes and found.verdict != "pass":
        console.print(Text(f"root cause: none known. {found.root_cause.explanation}"))
    if found.breaks:
        _show_breaks(console, found.breaks, found.more_breaks, _SHOWN_ROWS)
    if found.verdict != "pass":
        _show_rows_that_matter(console, found)
    for note in found.notes:
        console.print(Text(_harmless(note)))
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
"""Which queries to show a few rows of for a check that fails, and which of their columns."""


def _show_rows_that_matter(console: Console, found: Diagnosis) -> None:
    for check in found.checks:
        if check.status != "fail":
            continue
        garbage_in_window = bool(_rows_of(found, "rows_that_are_no_fills"))
        for name, columns in _MATTERS.get(check.name, {}).items():
            if check.name == "prices_valid" and (name == "new_against_old") == garbage_in_window:
                continue  # of garbage outside the window only the age tells
            query = next(query for query in found.queries if query.name == name)
            if query.rows:
                console.print(_query_table(query, columns, _SHOWN_ROWS))
                rest = f"{len(query.rows) - _SHOWN_ROWS:,} more rows and " * (
                    len(query.rows) > _SHOWN_ROWS
                )
                console.print(Text(f"{rest}all columns: kalshi-fills diagnose --query {name}\n"))


def _rows_of(found: Diagnosis, name: str) -> Sequence[tuple[object, ...]]:
    return next(query.rows for query in found.queries if query.name == name)


def show_query(query: QueryResult) -> None:
    """Print the answer of one diagnostic query in full, and how to read it."""
    console = _console()
    console.print(_query_table(query, query.columns, len(query.rows)))
    if not query.rows:
        console.print("No rows.")
    console.print(Text(f"Shows: {query.shows}.\nNormal: {query.normal}."))


def _query_table(query: QueryResult, columns: Sequence[str], at_most: int) -> Table:
    table = _table(query.title)
    first = dict(zip(query.columns, query.rows[0], strict=True)) if query.rows else {}
    for name in columns:
        number = isinstance(first.get(name), int | float)
        table.add_column(name.replace("_", " "), justify="right" if number else "left")
    for row in query.rows[:at_most]:
        values = dict(zip(query.columns, row, strict=True))
        table.add_row(*(Text(_cell(values[name])) for name in columns))
    return table


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}" if value.second else f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return _harmless(str(value))


def _plain(value: object) -> object:
    """Give a value as JSON has it: times as RFC 3339, decimals and ids as text."""
    if isinstance(value, datetime):
        return instant(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def truncation_json(report: TruncationReport, tables: Tables) -> dict[str, object]:
    """Give a truncate as the contract's JSON; of a plan, what would go and what is there now."""
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
        "rows_mended": report.rows_mended,
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
    """Print what a truncate did, or before it acts what it would do."""
    console = _console(stream)
    acted = report.acted
    title = f"truncate {tables.database}.{tables.fills}"
    table = _table(title)
    table.min_width = len(title)  # it would be wrapped to the width of the columns
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
    for sentence in _told_of_truncation(report):
        console.print(Text(sentence))


def show_backups(report: TruncationReport, tables: Tables, now: datetime) -> None:
    """Print the backups, oldest first, each with the statement that drops it."""
    console = _console()
    if report.backups:
        table = _table(f"backups of {tables.database}.{tables.fills}")
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


@contextmanager
def spinner() -> Iterator[Callable[[str], None]]:
    """Show a moving line on stderr that says what goes on, once it takes more than a second.

    Nothing moves where stderr is no terminal.
    """
    console = _Console(stderr=True, highlight=False, emoji=False)
    if not console.is_terminal:
        yield lambda _: None
        return
    status = console.status("")
    timer = threading.Timer(_PROGRESS_AFTER_SECONDS, status.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda text: status.update(Text(visible(text)))
    finally:
        timer.cancel()
        status.stop()


@contextmanager
def sync_progress() -> Iterator[Callable[[SyncReport], None]]:
    """Show a bar on stderr that says how far a pass is, once it takes more than a second.

    How long it takes yet is shown where it can be told: on an account's first pass it cannot,
    until the oldest fill is found. Nothing moves where stderr is no terminal.
    """
    console = _Console(stderr=True, highlight=False, emoji=False)
    if not console.is_terminal:
        yield lambda _: None
        return
    from rich.progress import BarColumn, Progress, TextColumn  # what is for cron starts without

    bar = Progress(
        TextColumn("{task.fields[report].stage}"),  # as it is then: it goes on after the last page
        BarColumn(),
        TextColumn("{task.fields[amounts]}"),
        console=console,
        refresh_per_second=4,
        transient=True,
    )
    began = time.monotonic()

    def update(report: SyncReport) -> None:
        if not bar.tasks:
            bar.add_task("", total=None, amounts="", report=report)
        task = bar.tasks[0].id
        counts, share = report.counts, report.share_read
        rate = counts.n_api / max(time.monotonic() - began, 0.001)
        amounts = f"{counts.n_api:,} fills  {report.pages:,} pages  {rate:,.0f} fills/s"
        bar.update(task, total=None if share is None else 1.0, completed=share or 0.0)
        left = bar.tasks[0].time_remaining
        if left:
            amounts += f"  about {timedelta(seconds=left)} left"
        bar.update(task, amounts=amounts)

    timer = threading.Timer(_PROGRESS_AFTER_SECONDS, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield update
    finally:
        timer.cancel()
        timer.join()
        bar.stop()


def instant(moment: datetime | None) -> str | None:
    """Write a time as RFC 3339 with Z, without a fraction where it has none."""
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def _why_removed(reason: str, report: TruncationReport) -> str:
    if reason == "older":
        return f"older than {instant(report.before)}"
    if reason == "repeat":
        return "repeats a fill that stays"
    return MEANING[Reason(reason)]


def _told_of_truncation(report: TruncationReport) -> Iterator[str]:
    yield from report.unfinished
    if not report.acted and not report.has_work:
        yield "Nothing to remove: no row goes, no backup is made."
    elif report.acted:
        yield from _told_of_removal(report)
    else:
        yield from _told_of_plan(report)
    for host in report.other_hosts:
        yield (
            f"A sync on {_harmless(host)} has not said how it ended; if it is at work, it does not "
            "move the watermark past what was removed."
        )
    if report.dry_run:
        yield "Nothing was written."


def _told_of_plan(report: TruncationReport) -> Iterator[str]:
    if report.rows_mended:
        yield f"{report.rows_mended:,} fills get the id that only their payload holds."
    if report.rows_removed and report.backup is not None:
        yield f"What goes is kept as {report.backup}, until you drop it."
    elif report.rows_removed:
        yield "What goes is gone for good: --no-backup keeps nothing."
    if report.watermark != report.watermark_before:
        to = instant(report.watermark) or "none: the next sync reads everything again"
        yield f"The watermark goes back from {instant(report.watermark_before)} to {to}."


def _told_of_removal(report: TruncationReport) -> Iterator[str]:
    if report.rows_mended:
        yield f"{report.rows_mended:,} fills got the id that only their payload held."
    if report.rows_late > 0:
        yield f"{report.rows_late:,} rows came meanwhile and are counted, too."
    if report.backup is not None:
        yield f"Kept as {report.backup}; to bring it back:"
        yield f"`kalshi-fills truncate --restore {report.backup}`"
    if report.backup_is_whole:
        yield "It is the whole old table, which could not be dropped: some rows are in both."
    mark = instant(report.watermark) or "none: the next sync reads everything again"
    yield f"watermark {mark}"
    then = ", then `kalshi-fills sync`" if report.legacy else ""
    if report.what == "garbage":
        yield f"No valid fill was removed. Next: `{report.next}`{then}."
    else:
        yield f"Next, to fill it with what the exchange has: `{report.next}`{then}."


def _age(age: timedelta) -> str:
    if age.days:
        return f"{age.days:,} d"
    hours, minutes = divmod(max(age.seconds, 0) // 60, 60)
    return f"{hours} h" if hours else f"{minutes} min"


def _stage_counts(counts: Counts) -> list[tuple[Stage, int]]:
    return [
        (Stage.API, counts.n_api),
        (Stage.RAW, counts.n_raw),
        (Stage.REAL, counts.n_real),
        (Stage.VALID, counts.n_valid),
        (Stage.GATED, counts.n_gated),
        (Stage.INSERTED, counts.n_inserted),
    ]


def _show_refusals(console: Console, report: SyncReport) -> None:
    groups = report.refusals.groups()
    if not groups:
        return
    table = _table("refused, kept in quarantine")
    table.add_column("stage")
    table.add_column("reason")
    table.add_column("count", justify="right")
    table.add_column("keys they had")
    for group in groups:
        keys = _harmless(", ".join(group.keys[:_SHOWN_KEYS]))
        more = len(group.keys) - _SHOWN_KEYS
        table.add_row(
            str(group.stage),
            Text(f"{group.reason}\n{MEANING[group.reason]}"),
            f"{group.count:,}",
            Text(keys + (f" and {more} more" if more > 0 else "")),
        )
    console.print(table)


def _meanings(report: SyncReport) -> Iterator[str]:
    counts = report.counts
    for host in report.other_hosts:
        yield (
            f"A run on {_harmless(host)} is at work on the same table; whatever it does, nothing "
            "doubles."
        )
    if counts.n_api == 0 and report.status == "done":
        yield "The exchange has no fills in this window."
    if lost := counts.n_api - counts.n_raw:
        yield f"{_items(lost)} of the answer {_are(lost)} no objects at all, so no fills."
    if lost := counts.n_raw - counts.n_real:
        yield (
            f"{_items(lost)} {_are(lost)} something other than fills: the exchange, or what stands "
            "between, mixes them into the answer. An engine without this check stores them."
        )
    if lost := counts.n_real - counts.n_valid:
        yield f"{_items(lost)} look like fills, but cannot be read exactly; nothing is guessed."
    if lost := counts.n_valid - counts.n_gated:
        yield f"{_items(lost)} could be read, but no real fill can be so; see the reasons."
    if counts.n_corrected:
        fields = ", ".join(sorted(report.corrections.by_field))
        yield f"{counts.n_corrected:,} stored rows differed and were corrected ({fields})."
    if counts.n_known:
        yield f"{counts.n_known:,} fills were stored before with the same content."
    if counts.n_duplicate:
        yield f"{counts.n_duplicate:,} came more than once in this pass and were counted once."
    if report.claims:
        drift = report.refusals.drift()
        yield (
            f"{report.claims:,} refused items carry a fill's id: they claim to be fills. "
            "Either the exchange changed its schema or money is missing."
        )
        if drift.new_keys:
            new_keys = _harmless(", ".join(drift.new_keys[:20]))
            yield f"Keys they have that fills never had: {new_keys}."
        if drift.missing_keys:
            yield f"Keys every fill has that they lack: {', '.join(drift.missing_keys)}."
        yield (
            "The watermark does not pass them. Look at them in "
            "the quarantine table, upgrade kalshi-fills, or accept them: "
            "`kalshi-fills sync --accept-rejected`."
        )
    if report.refused_everything:
        yield (
            "Not one item was a fill, so the watermark stays: either the exchange changed its "
            "schema or answers with something else. Look at the quarantine table, upgrade "
            "kalshi-fills, or accept the items: `kalshi-fills sync --accept-rejected`."
        )
    if report.made_up_ids:
        yield (
            f"{report.made_up_ids:,} fills came with neither fill_id nor trade_id and are stored "
            "under ids made of their content: two alike count as one. Upgrade kalshi-fills."
        )
    if report.conflicts:
        yield (
            f"{report.conflicts:,} fills were sent with two contents. The one that knows more is "
            "stored, the other is in the quarantine table, and the watermark does not pass them. "
            "Ask the exchange which is right, or accept it: `kalshi-fills sync --accept-rejected`."
        )


def _show_breaks(
    console: Console, breaks: Sequence[Break], more_breaks: bool, at_most: int = _SHOWN_BREAKS
) -> None:
    if not breaks:
        return
    more = " and more" if more_breaks else ""
    plural = "" if len(breaks) == 1 else "s"
    table = _table(f"{len(breaks):,}{more} break{plural} between exchange and table")
    table.add_column("kind", no_wrap=True)
    # An id that is cut off cannot be looked up.
    table.add_column("what, and what each side says", overflow="fold")
    for found in breaks[:at_most]:
        kind = found.kind if found.scope == "fill" else f"{found.kind} ({found.scope})"
        table.add_row(kind, Text(_harmless_lines(_break_lines(found))))
    console.print(table)
    if len(breaks) > at_most:
        console.print(f"{len(breaks) - at_most:,} more with --format json.\n")


def _break_lines(found: Break) -> Iterator[str]:
    if found.market_ticker:
        yield found.market_ticker
    if found.fill_id:
        yield f"fill  {found.fill_id}"
    if found.order_id:
        yield f"order {found.order_id}"
    field = f"{found.field}: " if found.field else ""
    sides = (("exchange", found.exchange), ("table", found.table))
    yield field + ", ".join(f"{side} {told}" for side, told in sides if told is not None)


def _harmless_lines(lines: Iterable[str]) -> str:
    return "\n".join(map(_harmless, lines))


def _harmless(text: str | None) -> str:
    """Return what came from outside so that it cannot steer a terminal."""
    return visible(text or "")


class _Console(Console):
    """A console that spells out what could steer a terminal, wherever in a text it stands."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Yield the segments of what is printed, without control characters of its own."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield segment._replace(text=visible_lines(segment.text))


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_LETTERS else text[:_SHOWN_LETTERS].rstrip(" ,;") + " …"


def _items(count: int) -> str:
    return f"{count:,} item{'' if count == 1 else 's'}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _console(stream: TextIO | None = None) -> Console:
    return _Console(file=stream, highlight=False, markup=False, emoji=False)


def _table(title: str) -> Table:
    return Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
