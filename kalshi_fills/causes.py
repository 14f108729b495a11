"""Root causes: why the checks found what they found, named from evidence, the worst first.

Each cause looks for its own traces and says nothing without them; several may be at work at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from kalshi_fills.comparison import Sides
from kalshi_fills.evidence import SYNC_SILENT, Survey
from kalshi_fills.pipeline import percent
from kalshi_fills.queries import Tables
from kalshi_fills.reconcile import content_time, time_told

_MIGRATE = "kalshi-fills migrate"
_GARBAGE = "kalshi-fills truncate --garbage"


class Cause(NamedTuple):
    """One reason for what the checks found."""

    name: str
    explanation: str
    evidence: list[str]
    next: str
    """The command to run next."""


def causes(table: Survey, sides: Sides | None, tables: Tables, now: datetime) -> Iterator[Cause]:
    """Name the causes there is evidence for, the worst first.

    Args:
        table: what the tables say.
        sides: what the comparison with the exchange found; None if it was not asked.
        tables: the tables' names.
        now: the clock.
    """
    yield from _schema_never_migrated(table, tables)
    yield from _non_fills_written_as_fills(table, sides)
    yield from _same_fills_inserted_again(table)
    yield from _event_time_written_as_now(table)
    yield from _old_garbage_mixed_with_good_rows(table)
    yield from _exchange_schema_changed(table, sides, tables)
    not_running = list(_sync_not_running(table, sides, now))
    yield from not_running
    yield from _key_sees_one_subaccount(sides)
    yield from _fills_missing(table, sides, explained=bool(not_running))


def _schema_never_migrated(table: Survey, tables: Tables) -> Iterator[Cause]:
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
            evidence.append(f"and {len(schema.problems) - 6} more differences")
        if schema.others_missing:
            evidence.append(f"not there: {', '.join(schema.others_missing)}")
        yield Cause(
            "schema_never_migrated",
            "The table still has the schema of an earlier time: CREATE TABLE IF NOT EXISTS changes "
            "nothing where a table is, so the columns that tell fills apart never came.",
            evidence,
            _MIGRATE,
        )


def _non_fills_written_as_fills(table: Survey, sides: Sides | None) -> Iterator[Cause]:
    evidence = []
    in_window = table.garbage("in", "after")
    if in_window or (table.garbage("before") and not _has_good_rows(table)):
        rows = table.rows
        garbage = table.garbage("before", "in", "after")
        share = percent(garbage, rows)
        evidence.append(f"{garbage:,} of {rows:,} rows ({share}) have a price no fill has")
        for row in table.answer("rows_that_are_no_fills").rows[:3]:
            problem, payload, count, orders = row[0] or "fine price", row[1], row[2], row[3]
            evidence.append(
                f"{int(count):,} rows of {int(orders):,} orders: {problem}, payload: {payload}"
            )
    else:
        disguised = [row for row in table.answer("rows_that_are_no_fills").rows if not row[0]]
        if disguised:
            count = sum(int(row[2]) for row in disguised)
            evidence.append(f"{count:,} rows have another payload than a fill: {disguised[0][1]}")
    if sides is not None:
        nameless = sum(not one.fill_id for one in sides.of("fill", "unexpected"))
        unexplained = sides.foreign + max(0, nameless - (table.repeats.rows - table.repeats.fills))
        if unexplained > 0:
            evidence.append(f"{unexplained:,} rows are not among the exchange's fills")
    if evidence:
        yield Cause(
            "non_fills_written_as_fills",
            "Something writes what is no fill into the table: orders, quotes, or whatever the "
            "endpoint returned.",
            evidence,
            _GARBAGE if table.is_today else _MIGRATE,
        )


def _same_fills_inserted_again(table: Survey) -> Iterator[Cause]:
    if table.repeats.fills:
        fills, rows = table.repeats
        yield Cause(
            "same_fills_inserted_again",
            "The same fills were inserted again and again: a poller writes all it gets, and "
            "without an id in the key nothing collapses.",
            [
                f"{fills:,} {'fill stands' if fills == 1 else 'fills stand'} in {rows:,} rows, "
                f"{rows / fills:,.0f} times each"
            ],
            _GARBAGE if table.is_today else _MIGRATE,
        )


def _event_time_written_as_now(table: Survey) -> Iterator[Cause]:
    times = table.event_times
    if times.differing:
        yield Cause(
            "event_time_written_as_now",
            "Rows carry the time they were written, not the time of the fill that is in their "
            "payload.",
            [
                f"{times.differing:,} of {times.looked_at:,} rows differ from their payload, by up "
                f"to {times.worst_seconds:,} s"
            ],
            "kalshi-fills sync --full" if table.is_today else _MIGRATE,
        )


def _old_garbage_mixed_with_good_rows(table: Survey) -> Iterator[Cause]:
    old = table.garbage("before")
    if old and not table.garbage("in", "after") and _has_good_rows(table):
        last = max(
            part.last_ts
            for part in table.profile
            if part.against_window == "before" and (part.price_outside or part.no_quantity)
        )
        yield Cause(
            "old_garbage_mixed_with_good_rows",
            "What is written today is right, but rows of an earlier time that are no fills still "
            "lie among it.",
            [f"{old:,} rows that are no fills, the newest of {last:%Y-%m-%d %H:%M}"],
            _GARBAGE if table.is_today else _MIGRATE,
        )


def _has_good_rows(table: Survey) -> bool:
    return any(part.by_sync for part in table.profile)


def _exchange_schema_changed(table: Survey, sides: Sides | None, tables: Tables) -> Iterator[Cause]:
    evidence = []
    if table.claims:
        evidence.append(
            f"refused items in {tables.fills}_rejected that claim to be fills: "
            f"{table.claims.items:,}, the latest of {table.claims.last_seen:%Y-%m-%d %H:%M} "
            f"({table.claims.reason})"
        )
        new = table.claims.new_keys
        what, keys = (
            ("keys that fills never had", new) if new else ("their keys", table.claims.keys)
        )
        evidence.append(f"{what}: {', '.join(keys[:12])}")
    if sides is not None and sides.claims:
        evidence.append(f"the exchange sends {sides.claims:,} of them in this window")
    if evidence:
        yield Cause(
            "exchange_schema_changed",
            "The exchange sends items with a fill's id that this version cannot read: its schema "
            "changed, or they are broken.",
            evidence,
            "pip install --upgrade kalshi-fills, then kalshi-fills sync; or, if they are no fills, "
            "kalshi-fills sync --accept-rejected",
        )


def _sync_not_running(table: Survey, sides: Sides | None, now: datetime) -> Iterator[Cause]:
    if not table.is_today:
        return
    run, finished = table.latest_run, table.finished
    finished_at = finished.finished_at if finished else None
    silent = finished_at is None or now - finished_at > SYNC_SILENT
    failed = run is not None and run.status == "failed"
    if sides is not None:
        missing = sides.of("fill", "missing")
        mark = content_time(finished.watermark) if finished and finished.watermark else ""
        newer = [one for one in missing if time_told(one.exchange) >= mark]
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
        "No sync has brought the newest fills: it fails, or nothing starts it.",
        evidence,
        "kalshi-fills sync",
    )


def _key_sees_one_subaccount(sides: Sides | None) -> Iterator[Cause]:
    if sides is not None and sides.restricted:
        evidence = ["the exchange refuses this key what concerns the whole account (403)"]
        if sides.hidden:
            evidence.append(f"{sides.hidden:,} rows are of subaccounts it does not see")
        yield Cause(
            "key_sees_one_subaccount",
            "The API key is restricted to one subaccount and sees that one's fills only, silently.",
            evidence,
            "set KALSHI_API_KEY_ID to a key of the whole account",
        )


def _fills_missing(table: Survey, sides: Sides | None, *, explained: bool) -> Iterator[Cause]:
    if sides is None or not table.is_today:
        return
    missing = sides.of("fill", "missing")
    mark = table.finished.watermark if table.finished else None
    if explained:
        missing = [one for one in missing if mark and time_told(one.exchange) < content_time(mark)]
    short = [one for one in sides.of("order") if _is_short(one.exchange, one.table, one.field)]
    if not missing and not short:
        return
    evidence = []
    if missing:
        first = min(time_told(one.exchange) for one in missing)
        evidence.append(f"fills missing: {len(missing):,}, the oldest of {first[:19]}")
    if short:
        evidence.append(f"orders filled more than their fills tell: {len(short):,}")
    since = f"--since {min(time_told(one.exchange) for one in missing)[:10]}" if missing else ""
    yield Cause(
        "fills_missing",
        "Fills that a finished sync should have brought are not there: they were removed, or the "
        "exchange showed them late.",
        evidence,
        f"kalshi-fills sync {since}".strip(),
    )


def _is_short(exchange: str | None, table: str | None, field: str | None) -> bool:
    return field == "fill_count_fp" and Decimal(exchange or 0) > Decimal(table or 0)
