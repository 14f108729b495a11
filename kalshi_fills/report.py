"""How results look: rich tables on stdout for people, one JSON object for scripts.

It adds up nothing but totals and decides no exit code. Every text that came from outside is
printed as it is, never as markup.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from kalshi_fills.fills import MEANING, Stage
from kalshi_fills.pipeline import Counts, percent
from kalshi_fills.queries import Tables

if TYPE_CHECKING:
    from kalshi_fills.migrations import MigrationReport
    from kalshi_fills.sync import SyncReport

_SHOWN_BREAKS: Final = 20
_SHOWN_KEYS: Final = 8
_SHOWN_LETTERS: Final = 60
_PROGRESS_AFTER_SECONDS: Final = 1.0


def show(result: object) -> None:
    """Print one JSON object on stdout."""
    sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")


def show_failure(command: str, exit_code: int, message: str, hint: str, form: str) -> None:
    """Print an error and its hint on stderr, and as JSON on stdout where that was asked for."""
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
        "new_keys": drift.new_keys,
        "missing_keys": drift.missing_keys,
        "corrections": {
            "by_field": report.corrections.by_field,
            "first": report.corrections.listed,
        },
        "breaks": [found._asdict() for found in report.breaks],
        "more_breaks": report.more_breaks,
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
    _show_breaks(console, report)
    window = report.window
    if window is not None:
        start = instant(window.start) or "the account's first fill"
        console.print(Text(f"window {start} to {instant(window.end)}"))
    mark = instant(report.watermark) or "none: the next run reads everything again"
    console.print(
        Text(f"watermark {mark}  requests {report.requests:,}  {report.elapsed_seconds:.1f} s")
    )
    console.print(Text(f"run {report.run_id}"))
    if report.status == "failed":
        console.print(Text(f"The pass failed at the step `{report.stage}`; see the error below."))


@contextmanager
def spinner() -> Iterator[Callable[[str], None]]:
    """Show a moving line on stderr that says what goes on, once it takes more than a second.

    Nothing moves where stderr is no terminal.
    """
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda _: None
        return
    status = console.status("")
    timer = threading.Timer(_PROGRESS_AFTER_SECONDS, status.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda text: status.update(Text(text))
    finally:
        timer.cancel()
        status.stop()


@contextmanager
def sync_progress() -> Iterator[Callable[[SyncReport], None]]:
    """Show how far a pass is, in the way of `spinner`."""
    began = time.monotonic()
    with spinner() as say:

        def update(report: SyncReport) -> None:
            rate = report.counts.n_api / max(time.monotonic() - began, 0.001)
            say(f"{report.counts.n_api:,} fills  {report.pages:,} pages  {rate:,.0f} fills/s")

        yield update


def instant(moment: datetime | None) -> str | None:
    """Write a time as RFC 3339 with Z, without a fraction where it has none."""
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


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
        yield f"A run on {host} is at work on the same table; whatever it does, nothing doubles."
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
            f"{report.claims:,} refused items carry a fill id and an order id: they claim to be "
            "fills. Either the exchange changed its schema or money is missing."
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


def _show_breaks(console: Console, report: SyncReport) -> None:
    if not report.breaks:
        return
    more = " and more" if report.more_breaks else ""
    table = _table(f"{len(report.breaks):,}{more} breaks between exchange and table")
    for name in ("kind", "fill / order", "field", "exchange", "table"):
        table.add_column(name)
    for found in report.breaks[:_SHOWN_BREAKS]:
        table.add_row(
            found.kind,
            Text("\n".join(map(_harmless, (found.market_ticker, found.fill_id, found.order_id)))),
            found.field or "",
            Text(_harmless(found.exchange)),
            Text(_harmless(found.table)),
        )
    console.print(table)
    if len(report.breaks) > _SHOWN_BREAKS:
        console.print(f"{len(report.breaks) - _SHOWN_BREAKS:,} more with --format json.")


def _harmless(text: str | None) -> str:
    """Write what came from outside so that it cannot steer a terminal."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text or ""
    )


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_LETTERS else text[:_SHOWN_LETTERS].rstrip(" ,;") + " …"


def _items(count: int) -> str:
    return f"{count:,} item{'' if count == 1 else 's'}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _console() -> Console:
    return Console(highlight=False, markup=False)


def _table(title: str) -> Table:
    return Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
