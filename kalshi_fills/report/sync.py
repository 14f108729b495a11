"""What a sync did, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.text import Text

from kalshi_fills.pipeline.fills import MEANING, Stage
from kalshi_fills.pipeline.stages import Counts, percent
from kalshi_fills.report.breaks import break_json
from kalshi_fills.report.console import (
    after_breaks,
    count_items,
    harmless,
    instant,
    is_or_are,
    new_console,
    new_table,
    show_breaks,
)
from kalshi_fills.warehouse.statements import Tables

if TYPE_CHECKING:
    from kalshi_fills.sync.report import SyncReport

_SHOWN_KEYS: Final = 8


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
        "breaks": [break_json(found) for found in report.breaks],
        "more_breaks": report.more_breaks,
        "open_breaks": report.open_breaks,
        "next": after_breaks(report),
        "notes": report.notes,
        "other_hosts": report.other_hosts,
        "requests": report.requests,
        "elapsed_seconds": report.elapsed_seconds,
    }


def show_sync(report: SyncReport, tables: Tables) -> None:
    """Print a pass as the stage table, the refusals below it, and what the differences mean."""
    console = new_console()
    counts = report.counts
    title = f"sync {tables.database}.{tables.fills}"
    if report.dry_run:
        title += " (dry run: nothing was written)"
    table = new_table(title)
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
    show_breaks(console, report.breaks, report.more_breaks)
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
        console.print(Text(harmless(note)))
    if command := after_breaks(report):
        console.print(Text(f"Next: {command}", style="bold"))
    if report.status == "failed":
        console.print(Text(f"The pass failed at the step `{report.stage}`; see the error below."))


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
    table = new_table("refused, kept in quarantine")
    table.add_column("stage")
    table.add_column("reason")
    table.add_column("count", justify="right")
    table.add_column("keys they had")
    for group in groups:
        keys = harmless(", ".join(group.keys[:_SHOWN_KEYS]))
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
            f"A run on {harmless(host)} is at work on the same table; whatever it does, nothing "
            "doubles."
        )
    if counts.n_api == 0 and report.status == "done":
        yield "The exchange has no fills in this window."
    if lost := counts.n_api - counts.n_raw:
        yield f"{count_items(lost)} of the answer {is_or_are(lost)} no objects at all, so no fills."
    if lost := counts.n_raw - counts.n_real:
        yield (
            f"{count_items(lost)} {is_or_are(lost)} something other than fills: the exchange, "
            f"or what stands "
            "between, mixes them into the answer. An engine without this check stores them."
        )
    if lost := counts.n_real - counts.n_valid:
        yield (
            f"{count_items(lost)} look like fills, but cannot be read exactly; nothing is guessed."
        )
    if lost := counts.n_valid - counts.n_gated:
        yield f"{count_items(lost)} could be read, but no real fill can be so; see the reasons."
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
            new_keys = harmless(", ".join(drift.new_keys[:20]))
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
