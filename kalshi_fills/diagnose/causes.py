"""Root causes: why the checks found what they found, named from evidence, the worst first.

Each cause looks for its own traces and is not named without them; several may apply at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from kalshi_fills.diagnose.removal import quoted, start_over_or_delete
from kalshi_fills.diagnose.survey import SYNC_SILENT, TableSurvey
from kalshi_fills.pipeline.stages import percent
from kalshi_fills.words import many, one_or_more

if TYPE_CHECKING:
    from kalshi_fills.reconcile.breaks import Break
    from kalshi_fills.reconcile.reconciliation import Reconciliation
    from kalshi_fills.warehouse.statements import Tables

_MIGRATE = "kalshi-fills migrate"

_GARBAGE = "kalshi-fills truncate --garbage"

_SYNC = "kalshi-fills sync"

_WORST_FIRST = (
    "schema_never_migrated",
    "non_fills_written_as_fills",
    "same_fills_inserted_again",
    "event_time_written_as_now",
    "old_garbage_mixed_with_good_rows",
    "exchange_schema_changed",
    "sync_not_running",
    "key_sees_one_subaccount",
    "fills_missing",
    "rows_altered",
    "exchange_withdrew_fills",
)


class Cause(NamedTuple):
    """One reason for what the checks found."""

    name: str
    explanation: str
    evidence: list[str]
    next: str
    """The command to run next."""


def causes(
    table: TableSurvey, reconciled: Reconciliation | None, tables: Tables, now: datetime
) -> Iterator[Cause]:
    """Yield the causes there is evidence for, the worst first.

    Args:
        table: what the tables say.
        reconciled: what the comparison with the exchange found; None if it was not asked.
        tables: the tables' names.
        now: the clock.
    """
    yield from _schema_never_migrated(table, tables)
    yield from _non_fills_written_as_fills(table, reconciled, tables)
    yield from _same_fills_inserted_again(table)
    yield from _event_time_written_as_now(table)
    yield from _old_garbage_mixed_with_good_rows(table)
    yield from _exchange_schema_changed(table, reconciled, tables)
    not_running = list(_sync_not_running(table, reconciled, now))
    yield from not_running
    yield from _key_sees_one_subaccount(reconciled)
    yield from _fills_missing(table, reconciled, now, explained=bool(not_running))
    yield from _rows_altered(table, reconciled)
    yield from _exchange_withdrew_fills(reconciled, tables)


def merge_causes(found: Iterable[Cause], more: Iterable[Cause]) -> list[Cause]:
    """Return causes, the worst first, each once: with all its evidence, and the earliest repair."""
    merged: dict[str, Cause] = {}
    for cause in (*found, *more):
        before = merged.setdefault(cause.name, cause)
        if before is not cause:
            merged[cause.name] = before._replace(
                evidence=[*before.evidence, *cause.evidence],
                next=_wider(before.next, cause.next),
            )
    return sorted(merged.values(), key=lambda cause: _WORST_FIRST.index(cause.name))


def _wider(one: str, other: str) -> str:
    """Return which of two repairs reaches further back, if both are syncs; else the first."""
    if not (one.startswith(_SYNC) and other.startswith(_SYNC)):
        return one
    if "--full" in other:
        return other
    since = other.partition("--since ")[2]
    before = one.partition("--since ")[2]
    return other if since and "--full" not in one and (not before or since < before) else one


def _schema_never_migrated(table: TableSurvey, tables: Tables) -> Iterator[Cause]:
    schema = table.schema
    if not schema.exists:
        yield Cause(
            "schema_never_migrated",
            f"There is no table {tables.database}.{tables.fills}: migrate was never run here.",
            [],
            _MIGRATE,
        )
    elif schema.problems or schema.others_missing:
        evidence = schema.problems[:6]
        if len(schema.problems) > 6:
            evidence.append(f"and {many(len(schema.problems) - 6, 'more difference')}")
        if schema.others_missing:
            evidence.append(f"not there: {', '.join(schema.others_missing)}")
        yield Cause(
            "schema_never_migrated",
            "The table still has an old schema: CREATE TABLE IF NOT EXISTS does not change a table "
            "that exists, so the columns that identify a fill were never added.",
            evidence,
            _MIGRATE,
        )
    elif schema.others_behind:
        yield Cause(
            "schema_never_migrated",
            "The tool was upgraded and `migrate` was not run: the tables beside the fills table "
            "are those of an earlier version.",
            list(schema.others_behind[:6]),
            _MIGRATE,
        )


def _non_fills_written_as_fills(
    table: TableSurvey, reconciled: Reconciliation | None, tables: Tables
) -> Iterator[Cause]:
    evidence = []
    in_window = table.garbage("in", "after")
    if in_window or (table.garbage("before") and not table.has_rows_of_sync):
        rows = table.rows
        garbage = table.garbage("before", "in", "after")
        share = percent(garbage, rows)
        have = one_or_more(garbage, "has", "have")
        evidence.append(f"{garbage:,} of {many(rows, 'row')} ({share}) {have} a price no fill has")
        evidence += [
            f"{many(one.rows, 'row')} of {many(one.orders, 'order')}: "
            f"{one.problem or 'possible price'}, payload: {one.payload}"
            for one in table.no_fills[:3]
        ]
    else:
        disguised = [one for one in table.no_fills if not one.problem]
        if disguised:
            count = sum(one.rows for one in disguised)
            payload = disguised[0].payload
            evidence.append(f"{many(count, 'row')} with a payload that is no fill: {payload}")
    garbage = bool(evidence)
    by_hand = []
    if reconciled is not None:
        by_hand = reconciled.by_writer.foreign_and_valid
        nameless = sum(not one.fill_id for one in reconciled.of("fill", "unexpected"))
        unexplained = max(0, nameless - (table.repeats.row_count - table.repeats.fills))
        garbage = garbage or unexplained > 0 or len(reconciled.by_writer.foreign) > len(by_hand)
        unexplained += len(reconciled.by_writer.foreign)
        if unexplained > 0:
            evidence.append(
                f"{many(unexplained, 'row')} that {one_or_more(unexplained, 'is', 'are')} not "
                "among the exchange's fills"
            )
    if by_hand and garbage:
        valid, them = len(by_hand), one_or_more(len(by_hand), "it", "them")
        evidence.append(
            f"{valid:,} of them could be {one_or_more(valid, 'a fill', 'fills')}, and truncate "
            f"--garbage leaves {them}; diagnose names what removes {them} once the garbage is gone"
        )
    if evidence:
        yield Cause(
            "non_fills_written_as_fills",
            "Something writes rows that are no fills into the table: orders, quotes, or whatever "
            "the endpoint returned.",
            evidence,
            _MIGRATE
            if not table.is_today
            else _GARBAGE
            if garbage
            else start_over_or_delete(tables, by_hand),
        )


def _same_fills_inserted_again(table: TableSurvey) -> Iterator[Cause]:
    if table.repeats.fills:
        fills, rows = table.repeats
        yield Cause(
            "same_fills_inserted_again",
            "The same fills were inserted again and again: a poller writes all that it gets, and "
            "without an id in the sort key nothing removes the repeats.",
            [
                f"{many(fills, 'fill')} {one_or_more(fills, 'stands', 'stand')} in "
                f"{many(rows, 'row')}, "
                f"{rows / fills:,.0f} times each"
            ],
            _GARBAGE if table.is_today else _MIGRATE,
        )


def _event_time_written_as_now(table: TableSurvey) -> Iterator[Cause]:
    times = table.event_times
    if times.differing:
        yield Cause(
            "event_time_written_as_now",
            "Rows carry the time at which they were written, not that of the fill in their "
            "payload.",
            [
                f"{times.differing:,} of {many(times.looked_at, 'row')} "
                f"{one_or_more(times.differing, 'differs from its', 'differ from their')} payload, "
                f"by up to {times.worst_seconds or 0:,} s"
            ],
            "kalshi-fills sync --full" if table.is_today else _MIGRATE,
        )


def _old_garbage_mixed_with_good_rows(table: TableSurvey) -> Iterator[Cause]:
    old = table.garbage("before")
    if old and not table.garbage("in", "after") and table.has_rows_of_sync:
        last = max(
            part.last_ts
            for part in table.profile
            if part.against_window == "before" and (part.price_outside or part.no_quantity)
        )
        yield Cause(
            "old_garbage_mixed_with_good_rows",
            "What is written today is right, but the table still has older rows that are no fills.",
            [
                f"{many(old, 'row')} that {one_or_more(old, 'is no fill', 'are no fills')}, the "
                f"newest of {last:%Y-%m-%d %H:%M}"
            ],
            _GARBAGE if table.is_today else _MIGRATE,
        )


def _exchange_schema_changed(
    table: TableSurvey, reconciled: Reconciliation | None, tables: Tables
) -> Iterator[Cause]:
    evidence = []
    if table.claims:
        evidence.append(
            f"refused items in {tables.fills}_rejected that claim to be fills: "
            f"{table.claims.claims:,}, the latest of {table.claims.last_time:%Y-%m-%d %H:%M} "
            f"({table.claims.latest_reason})"
        )
        new = table.claims.new_keys
        what, keys = (
            ("keys that fills never had", new) if new else ("their keys", table.claims.latest_keys)
        )
        evidence.append(f"{what}: {', '.join(keys[:12])}")
    if reconciled is not None and reconciled.claims:
        evidence.append(f"the exchange sends {reconciled.claims:,} of them in this window")
    if evidence:
        yield Cause(
            "exchange_schema_changed",
            "The exchange sends items with a fill's id that this version cannot read: its schema "
            "changed, or they are broken.",
            evidence,
            "upgrade kalshi-fills, then kalshi-fills sync; or, if they are no fills, "
            "kalshi-fills sync --accept-rejected",
        )


def _sync_not_running(
    table: TableSurvey, reconciled: Reconciliation | None, now: datetime
) -> Iterator[Cause]:
    if not table.is_today:
        return
    run, finished = table.latest_run, table.finished
    finished_at = finished.finished_at if finished else None
    silent = finished_at is None or now - finished_at > SYNC_SILENT
    failed = run is not None and run.status == "failed"
    if reconciled is not None:
        missing = reconciled.of("fill", "missing")
        mark = finished.watermark if finished else None
        newer = [one for one in missing if mark is None or not _is_before(one, mark)]
        if not newer or not (silent or failed):
            return
        evidence = [f"missing fills newer than the last finished sync: {len(newer):,}"]
    elif failed or (silent and finished is not None):
        evidence = []
    else:
        return
    if finished_at is None:
        evidence.append("no sync has ever finished")
    else:
        evidence.append(f"the last one finished on {finished_at:%Y-%m-%d %H:%M:%S}")
    if failed and run is not None:
        evidence.append(f"the latest failed on {run.started_at:%Y-%m-%d %H:%M:%S}: {run.error}")
    yield Cause(
        "sync_not_running",
        "No sync has stored the newest fills: it fails, or nothing starts it.",
        evidence,
        "kalshi-fills sync",
    )


def _key_sees_one_subaccount(reconciled: Reconciliation | None) -> Iterator[Cause]:
    if reconciled is not None and reconciled.restricted:
        evidence = ["the exchange refuses this key the requests about the whole account (403)"]
        if reconciled.hidden:
            evidence.append(f"{many(reconciled.hidden, 'row')} of subaccounts it does not see")
        yield Cause(
            "key_sees_one_subaccount",
            "The API key is restricted to one subaccount: the exchange leaves out the fills of the "
            "others without a word.",
            evidence,
            "set KALSHI_API_KEY_ID to a key of the whole account",
        )


def _fills_missing(
    table: TableSurvey, reconciled: Reconciliation | None, now: datetime, *, explained: bool
) -> Iterator[Cause]:
    if reconciled is None or not table.is_today:
        return
    missing = reconciled.of("fill", "missing")
    mark = table.finished.watermark if table.finished else None
    if explained:
        missing = [one for one in missing if mark is not None and _is_before(one, mark)]
    short = [one for one in reconciled.of("order") if _lacks_contracts(one)]
    if not missing and not short:
        return
    evidence = []
    explanation = (
        "Fills that a finished sync should have stored are missing: they were removed, or the "
        "exchange listed them late."
    )
    since = ""
    if missing:
        first = min(one.executed_at for one in missing if one.executed_at is not None)
        evidence.append(f"fills missing: {len(missing):,}, the oldest of {first:%Y-%m-%d %H:%M:%S}")
        unread = mark is not None and first >= mark
        if unread and mark is not None and mark < now - SYNC_SILENT:
            explanation = (
                f"Fills are missing that no sync was asked for: syncs have read up to "
                f"{mark:%Y-%m-%d %H:%M:%S} only."
            )
        since = "" if unread else f"--since {first:%Y-%m-%d}"
    if short:
        evidence.append(f"orders with more contracts than their fills: {len(short):,}")
    yield Cause("fills_missing", explanation, evidence, f"kalshi-fills sync {since}".strip())


def _rows_altered(table: TableSurvey, reconciled: Reconciliation | None) -> Iterator[Cause]:
    """Yield the cause of rows that differ from the exchange and are not as a sync wrote them."""
    evidence = []
    since = ""
    if reconciled is not None:
        altered, of_others = reconciled.by_writer.altered, reconciled.by_writer.of_others
        if altered:
            evidence.append(f"rows that a sync wrote and somebody changed since: {len(altered):,}")
        if of_others and not table.event_times.differing:
            evidence.append(f"rows that another writer wrote: {len(of_others):,}")
        if evidence:
            fields = sorted(
                {one.field for one in reconciled.of("fill", "mismatch") if one.field is not None}
            )
            evidence.append(f"fields that differ from the exchange: {', '.join(fields)}")
            if reconciled.differs_since is not None:
                since = f" --since {reconciled.differs_since:%Y-%m-%d}"
    undefined = table.equal_versions
    if undefined.fills:
        evidence.append(
            f"fills with rows of equal version and different content: {undefined.fills:,}"
        )
        since = f" --since {undefined.oldest:%Y-%m-%d}" if undefined.oldest else " --full"
    if evidence:
        yield Cause(
            "rows_altered",
            "Fills in the table have another content than at the exchange: somebody changed rows. "
            "A sync of the range corrects them.",
            evidence,
            f"kalshi-fills sync{since}",
        )


def _exchange_withdrew_fills(reconciled: Reconciliation | None, tables: Tables) -> Iterator[Cause]:
    withdrawn = reconciled.by_writer.withdrawn if reconciled is not None else []
    if withdrawn:
        first = ", ".join(quoted(key.fill_id) for key in withdrawn[:3])
        yield Cause(
            "exchange_withdrew_fills",
            "The exchange no longer lists fills that a sync stored: busted trades, or fills of "
            "another account. Ask the exchange; no sync removes them, and truncate --garbage "
            "takes them for fills.",
            [f"rows: {len(withdrawn):,}, such as {first}"],
            start_over_or_delete(tables, withdrawn),
        )


def _is_before(missing: Break, moment: datetime) -> bool:
    return missing.executed_at is not None and missing.executed_at < moment


def _lacks_contracts(order: Break) -> bool:
    """Return whether the exchange filled more of an order than the table has."""
    filled, stored = order.exchange, order.table or Decimal(0)
    return (
        order.field == "fill_count_fp"
        and isinstance(filled, Decimal)
        and isinstance(stored, Decimal)
        and filled > stored
    )
