"""What a sync did, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.text import Text

from kalshi_fills.pipeline.fills import MEANING, Stage
from kalshi_fills.pipeline.stages import Counts, percent
from kalshi_fills.report.breaks import break_json, show_breaks
from kalshi_fills.report.console import harmless, instant, new_console, new_table, to_the_second
from kalshi_fills.warehouse.statements import Tables
from kalshi_fills.words import many, one_or_more

if TYPE_CHECKING:
    from kalshi_fills.sync.report import SettlementCounts, SyncReport

_SHOWN_KEYS: Final = 8


def sync_json(report: SyncReport) -> dict[str, object]:
    """Return the result of a pass as the contract's JSON."""
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
        "settlements": asdict(report.settlements),
        "breaks": [break_json(found) for found in report.breaks],
        "more_breaks": report.more_breaks,
        "open_breaks": report.open_breaks,
        "next": next_command(report),
        "notes": report.notes,
        "other_hosts": report.other_hosts,
        "requests": report.requests,
        "elapsed_seconds": report.elapsed_seconds,
    }


def next_command(report: SyncReport) -> str | None:
    """Return the command that explains the open breaks; None if there are none."""
    if report.open_since is None:
        return None
    return f"kalshi-fills diagnose --since {report.open_since:%Y-%m-%dT%H:%M:%SZ}"


def show_sync(report: SyncReport, tables: Tables) -> None:
    """Print the stages of a pass, what was refused, and what the numbers mean."""
    console = new_console()
    if report.status == "failed":
        _show_failed(console, report, tables)
        return
    _show_stages(console, report, tables)
    _show_refusals(console, report)
    for sentence in _meanings(report):
        console.print(Text(sentence))
    show_breaks(console, report.breaks, report.more_breaks)
    window = report.window
    if window is not None:
        start = to_the_second(window.start) or "the account's first fill"
        console.print(Text(f"window {start} to {to_the_second(window.end)}"))
    mark = instant(report.watermark) or "none: the next run reads everything again"
    if report.would_be_watermark not in (None, report.watermark):
        mark += f" (a run would move it to {instant(report.would_be_watermark)})"
    took = f"{report.elapsed_seconds:.1f} s"
    console.print(Text(f"watermark {mark}  {many(report.requests, 'request')}  {took}"))
    console.print(Text(_settlements_line(report.settlements)))
    console.print(Text(f"run {report.run_id}"))
    for note in report.notes:
        console.print(Text(harmless(note)))
    if command := next_command(report):
        console.print(Text(f"Next: {command}", style="bold"))


def _show_failed(console: Console, report: SyncReport, tables: Tables) -> None:
    """Print how far a pass got that failed; its error says the rest."""
    counts = report.counts
    mark = instant(report.watermark)
    console.print(
        Text(
            f"sync {tables.database}.{tables.fills}: failed at the step `{report.stage}` after "
            f"{many(counts.n_api, 'item')}, {many(counts.n_inserted, 'fill')} written; "
            + (f"the watermark stays at {mark}" if mark else "no watermark is set")
        )
    )
    for note in report.notes:
        console.print(Text(harmless(note)))


def _settlements_line(counts: SettlementCounts) -> str:
    """Return what became of the settlements, as one line."""
    if not counts.n_api:
        return "settlements none listed"
    parts = [f"{counts.n_new:,} new", f"{counts.n_corrected:,} corrected"]
    parts += [f"{counts.n_known:,} known", f"{counts.n_rejected:,} refused"]
    return f"settlements {counts.n_api:,}: {', '.join(parts)}"


def _show_stages(console: Console, report: SyncReport, tables: Tables) -> None:
    counts = report.counts
    title = f"sync {tables.database}.{tables.fills}"
    if report.dry_run:
        title += " (dry run: nothing was written)"
    table = new_table(title)
    table.add_column("stage")
    for name in ("count", "dropped", "pass rate"):
        table.add_column(name, justify="right")
    before = counts.n_api
    for stage, count in _stage_counts(counts):
        dropped = f"{before - count:,}" if before - count else ""
        rate = "" if stage is Stage.API else percent(count, before)
        if stage is Stage.INSERTED and counts.n_known:
            dropped = f"{counts.n_known:,} known" + (
                f", {many(counts.n_duplicate, 'repeat')}" if counts.n_duplicate else ""
            )
            rate = "" if count == 0 else rate
        table.add_row(str(stage), f"{count:,}", dropped, rate)
        before = count
    console.print(table)


def _stage_counts(counts: Counts) -> Iterator[tuple[Stage, int]]:
    yield Stage.API, counts.n_api
    yield Stage.RAW, counts.n_raw
    yield Stage.REAL, counts.n_real
    yield Stage.VALID, counts.n_valid
    yield Stage.GATED, counts.n_gated
    yield Stage.INSERTED, counts.n_inserted


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
    """Yield a sentence for everything in the counts that an operator should know of."""
    counts = report.counts
    for host in report.other_hosts:
        yield (
            f"A sync on {harmless(host)} is working on the same table. That is safe: no fill is "
            "stored twice."
        )
    if counts.n_api == 0 and report.status == "done":
        yield "The exchange has no fills in this window."
    yield from _meanings_of_refusals(counts)
    if changed := counts.n_corrected:
        fields = ", ".join(sorted(report.corrections.by_field))
        was = one_or_more(changed, "was", "were")
        yield f"{many(changed, 'stored row')} differed and {was} corrected ({fields})."
    if known := counts.n_known:
        were = one_or_more(known, "was", "were")
        yield f"{many(known, 'fill')} {were} already stored with the same content."
    if repeats := counts.n_duplicate:
        yield f"{many(repeats, 'item')} repeated a fill of this pass and counted once."
    yield from _meanings_of_claims(report)
    if report.refused_everything:
        yield (
            "Not one item was a fill, so the watermark stays where it is: either the exchange "
            "changed its schema, or something else answers in its place. Look at the quarantine "
            "table, then upgrade kalshi-fills, or accept the items: "
            "`kalshi-fills sync --accept-rejected`."
        )
    if made_up := report.made_up_ids:
        yield (
            f"{many(made_up, 'fill')} came with neither fill_id nor trade_id, so the id is made of "
            "the content: two such fills with equal content count as one. Upgrade kalshi-fills."
        )
    if conflicts := report.conflicts:
        were = one_or_more(conflicts, "was", "were")
        yield (
            f"{many(conflicts, 'fill')} {were} sent with two contents. The one with more "
            "information is stored, the other is in the quarantine table, and the watermark stays "
            "before it. Ask the exchange which is right, or accept what is stored: "
            "`kalshi-fills sync --accept-rejected`."
        )


def _meanings_of_refusals(counts: Counts) -> Iterator[str]:
    if lost := counts.n_api - counts.n_raw:
        are = one_or_more(lost, "is not even an object", "are not even objects")
        yield f"{many(lost, 'item')} of the answer {are}."
    if lost := counts.n_raw - counts.n_real:
        are = one_or_more(lost, "is not a fill", "are not fills")
        yield (
            f"{many(lost, 'item')} {are}: the exchange, or something in between, mixes other "
            "things into its answer. An engine without this check stores them as fills."
        )
    if lost := counts.n_real - counts.n_valid:
        look = one_or_more(lost, "looks like a fill", "look like fills")
        yield f"{many(lost, 'item')} {look} but cannot be read exactly; nothing is guessed."
    if lost := counts.n_valid - counts.n_gated:
        yield (
            f"{many(lost, 'item')} can be read, but no real fill has such values; see the reasons."
        )


def _meanings_of_claims(report: SyncReport) -> Iterator[str]:
    if not report.claims:
        return
    drift = report.refusals.drift()
    claim = one_or_more(report.claims, "claims to be a fill", "claim to be fills")
    yield (
        f"{many(report.claims, 'refused item')} {claim}. Either the exchange changed its schema, "
        "or fills are missing from the table."
    )
    if drift.new_keys:
        yield f"Keys that no fill had before: {harmless(', '.join(drift.new_keys[:20]))}."
    if drift.missing_keys:
        yield f"Keys that every fill has, and these do not: {', '.join(drift.missing_keys)}."
    yield (
        "The watermark stays before them. Look at them in the quarantine table, then upgrade "
        "kalshi-fills, or accept them: `kalshi-fills sync --accept-rejected`."
    )
