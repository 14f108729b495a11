"""The check that table and exchange hold the same fills: the one that needs the exchange."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from kalshi_fills.diagnose.checks import FAIL, GARBAGE, MIGRATE, PASS, SKIP, SYNC, WARN, Check
from kalshi_fills.diagnose.removal import start_over_or_delete
from kalshi_fills.diagnose.survey import SYNC_SILENT, TableSurvey
from kalshi_fills.pipeline.fills import EARLIEST_FILL, FillKey
from kalshi_fills.reconcile.breaks import MAX_BREAKS, Break
from kalshi_fills.reconcile.reconciliation import LARGE_LAG, Reconciliation
from kalshi_fills.words import many, one_or_more

if TYPE_CHECKING:
    from kalshi_fills.warehouse.statements import Tables

VOLUME: Final = "volume_matches_api"

_DIAGNOSE: Final = "kalshi-fills diagnose"


def check_volume(
    table: TableSurvey, reconciled: Reconciliation | None, now: datetime, tables: Tables
) -> Check:
    """Check that table and exchange hold the same fills."""
    name = VOLUME
    expected = "every fill of the exchange in the window once, and nothing else"
    if reconciled is None:
        return _volume_offline(table, name, expected, now)
    seen = f"exchange {reconciled.exchange_fills:,}, table {reconciled.table_rows:,}"
    observed = "; ".join([seen, *_counts(reconciled)])
    if reconciled.of("fill") or reconciled.of("order"):
        return Check(
            name,
            FAIL,
            observed,
            expected,
            _how_many(reconciled),
            _repair(table, reconciled, tables),
        )
    if not table.schema.exists:
        return Check(
            name,
            FAIL if reconciled.exchange_fills else SKIP,
            observed,
            expected,
            "There is no table.",
            MIGRATE,
        )
    if reconciled.claims or table.claims:
        refused = reconciled.claims or (table.claims.claims if table.claims else 0)
        return Check(
            name,
            FAIL if reconciled.claims else WARN,
            f"{seen}; {_claiming(refused)}",
            expected,
            "An item that claims to be a fill and cannot be read may be missing money.",
            SYNC,
        )
    if reconciled.not_compared and not reconciled.of("position"):
        return Check(
            name,
            SKIP,
            "nothing compared",
            expected,
            f"Nothing could be compared. {reconciled.not_compared}",
            _again(reconciled),
        )
    doubts = _doubts(reconciled)
    if doubts:
        next_steps = [step for _, step in doubts if step]
        return Check(
            name,
            WARN,
            "; ".join([observed, _proven(table, reconciled)]),
            expected,
            " ".join(sentence for sentence, _ in doubts),
            next_steps[0] if next_steps else "",
        )
    agreed = (
        "Both sides agree, fill by fill."
        if table.is_today
        else "Each order has as many rows as the exchange has fills; what is in them can be "
        "compared once the table is migrated."
    )
    pending = (
        f" {reconciled.pending:,} newer than the last sync "
        f"{one_or_more(reconciled.pending, 'comes', 'come')} with the next."
    ) * bool(reconciled.pending)
    return Check(
        name,
        PASS,
        "; ".join([observed, _proven(table, reconciled)]),
        expected,
        f"{agreed}{pending}",
        "",
    )


def _counts(reconciled: Reconciliation) -> list[str]:
    """Return what differs and what is pending, as phrases with their numbers."""
    counts = [
        f"{len(found):,} {one_or_more(len(found), one, several)}"
        for one, several, found in (
            ("missing", "missing", reconciled.of("fill", "missing")),
            ("unexpected", "unexpected", reconciled.of("fill", "unexpected")),
            ("mismatch", "mismatches", _fills_in(reconciled.of("fill", "mismatch"))),
            ("order that differs", "orders that differ", reconciled.of("order")),
            ("position that differs", "positions that differ", reconciled.of("position")),
        )
        if found
    ]
    if reconciled.more_breaks:
        counts.append(f"and more: only {MAX_BREAKS:,} are named")
    if reconciled.hidden:
        counts.append(f"{reconciled.hidden:,} more that this key does not see")
    if reconciled.pending:
        counts.append(f"{reconciled.pending:,} pending")
    if reconciled.pending_orders:
        counts.append(f"{many(reconciled.pending_orders, 'order')} pending")
    return counts


def _proven(table: TableSurvey, reconciled: Reconciliation) -> str:
    """Return what was compared and agrees, as a phrase with its numbers."""
    proven = reconciled.proven.as_dict()
    orders = many(reconciled.proven.orders, "order")
    if not table.is_today:
        return f"compared: number of rows of {orders}"
    fills = many(reconciled.proven.fills, "fill")
    positions = many(reconciled.proven.positions, "position")
    return (
        f"compared: {fills}, {proven['contracts']} contracts, {proven['fees_dollars']} dollars of "
        f"fees; {orders} and {positions} agree"
    )


def _doubts(reconciled: Reconciliation) -> list[tuple[str, str]]:
    """Return why agreement proves less than was asked for: sentences, each with what to do."""
    doubts: list[tuple[str, str]] = []
    if reconciled.not_compared:
        doubts.append((f"No fill could be compared. {reconciled.not_compared}", _again(reconciled)))
    if reconciled.of("position"):
        several = len(reconciled.of("position"))
        differ = one_or_more(several, "a position differs", "positions differ")
        explains = one_or_more(several, "explains it", "explain them")
        agreed = "" if reconciled.not_compared else "every fill and every order agrees; "
        sentence = f"{agreed}{differ}, and no fill {explains}"
        doubts.append(
            (
                f"{sentence[0].upper()}{sentence[1:]}; a transfer to or from another account does "
                "that.",
                "",
            )
        )
    if reconciled.restricted:
        doubts.append(
            (
                "The key is restricted to one subaccount; for the others nothing is proven.",
                "use a key that sees the whole account",
            )
        )
    if not reconciled.not_compared and reconciled.cut_short_by > LARGE_LAG and not reconciled.blind:
        doubts.append(
            (
                f"Both sides agree up to {reconciled.compared.end:%Y-%m-%dT%H:%M:%SZ}; the "
                "exchange does not call newer data complete yet, and they were not compared.",
                _again(reconciled),
            )
        )
    doubts += [(sentence, "") for sentence in reconciled.blind]
    return doubts


def _again(reconciled: Reconciliation) -> str:
    """Return the command to compare again with: over what the exchange calls complete now."""
    start = reconciled.asked.start
    if start is None or reconciled.complete_until > start:
        return _DIAGNOSE
    since = max(reconciled.complete_until, EARLIEST_FILL + timedelta(days=1)) - timedelta(days=1)
    return f"{_DIAGNOSE} --since {since:%Y-%m-%dT%H:%M:%SZ}"


def _volume_offline(table: TableSurvey, name: str, expected: str, now: datetime) -> Check:
    rows = sum(part.rows for part in table.profile if part.against_window == "in")
    observed = f"table {rows:,}, exchange not asked"
    run, finished = table.latest_run, table.finished
    silent = (
        finished is not None
        and finished.finished_at is not None
        and now - finished.finished_at > SYNC_SILENT
    )
    if table.claims:
        return Check(
            name,
            WARN,
            f"{observed}; {_claiming(table.claims.claims)}",
            expected,
            "An item that claims to be a fill and cannot be read may be missing money.",
            SYNC,
        )
    if silent or (run is not None and run.status == "failed"):
        return Check(
            name,
            WARN,
            observed,
            expected,
            "The latest sync failed." if not silent else "No sync has finished for hours.",
            SYNC,
        )
    return Check(
        name, SKIP, observed, expected, "This check needs the exchange: run it online.", ""
    )


def _claiming(items: int) -> str:
    return f"{many(items, 'refused item')} " + one_or_more(
        items, "claims to be a fill", "claim to be fills"
    )


def _fills_in(breaks: list[Break]) -> set[FillKey]:
    """Return the fills that breaks are of: one that differs in several fields is one fill."""
    return {one.key for one in breaks}


def _repair(table: TableSurvey, reconciled: Reconciliation, tables: Tables) -> str:
    """Return the command that repairs what differs."""
    if not table.is_today:
        return MIGRATE
    if reconciled.of("fill", "unexpected") and not (
        reconciled.of("fill", "missing") or reconciled.of("fill", "mismatch")
    ):
        left = reconciled.by_writer.left_by_garbage
        others = [one for one in reconciled.of("fill", "unexpected") if one.key not in left]
        return GARBAGE if others else start_over_or_delete(tables, left)
    mark = table.finished.watermark if table.finished else None
    since = reconciled.differs_since
    if mark is None or since is None or since >= mark:
        return SYNC
    return f"{SYNC} --since {since:%Y-%m-%d}"


def _how_many(reconciled: Reconciliation) -> str:
    rows, fills = reconciled.table_rows, reconciled.exchange_fills
    if not reconciled.of("fill", "missing") and not reconciled.of("fill", "unexpected"):
        if reconciled.of("fill"):
            return "Both sides have the same fills, but not with the same content."
        if rows == fills:
            return "Every fill agrees, but orders do not add up to their fills."
    if rows > fills:
        times = f", {rows / fills:,.0f} times as many" if fills and rows >= 2 * fills else ""
        return f"The table has rows that are not the exchange's fills{times}."
    if rows < fills:
        return "The table lacks fills of the exchange."
    return "As many rows as fills, but not the same ones."
