"""Root causes: why the checks found what they found, named from evidence, the worst first.

Each cause looks for its own traces and says nothing without them; several may be at work at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from kalshi_fills.pipeline.fills import FillKey
from kalshi_fills.pipeline.stages import percent
from kalshi_fills.reconcile.breaks import Break
from kalshi_fills.reconcile.run import Sides
from kalshi_fills.reconcile.survey import SYNC_SILENT, Survey
from kalshi_fills.warehouse.statements import Tables

_MIGRATE = "kalshi-fills migrate"

_GARBAGE = "kalshi-fills truncate --garbage"

_NAMED_IN_STATEMENT: Final = 50


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
    yield from _non_fills_written_as_fills(table, sides, tables)
    yield from _same_fills_inserted_again(table)
    yield from _event_time_written_as_now(table)
    yield from _old_garbage_mixed_with_good_rows(table)
    yield from _exchange_schema_changed(table, sides, tables)
    not_running = list(_sync_not_running(table, sides, now))
    yield from not_running
    yield from _key_sees_one_subaccount(sides)
    yield from _fills_missing(table, sides, now, explained=bool(not_running))
    yield from _rows_altered(table, sides)
    yield from _exchange_withdrew_fills(sides, tables)


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
    elif schema.others_behind:
        yield Cause(
            "schema_never_migrated",
            "The tool was upgraded and `migrate` was not run: the tables beside the fills table "
            "are those of an earlier version.",
            list(schema.others_behind[:6]),
            _MIGRATE,
        )


def _non_fills_written_as_fills(
    table: Survey, sides: Sides | None, tables: Tables
) -> Iterator[Cause]:
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
    garbage = bool(evidence)
    by_hand = []
    if sides is not None:
        by_hand = sides.by_writer.foreign_and_valid
        nameless = sum(not one.fill_id for one in sides.of("fill", "unexpected"))
        unexplained = max(0, nameless - (table.repeats.rows - table.repeats.fills))
        garbage = garbage or unexplained > 0 or len(sides.by_writer.foreign) > len(by_hand)
        unexplained += len(sides.by_writer.foreign)
        if unexplained > 0:
            evidence.append(f"{unexplained:,} rows are not among the exchange's fills")
    if by_hand and garbage:
        evidence.append(
            f"{len(by_hand):,} of them could be fills, so that truncate --garbage leaves them; "
            "diagnose names what removes them once the garbage is gone"
        )
    if evidence:
        yield Cause(
            "non_fills_written_as_fills",
            "Something writes what is no fill into the table: orders, quotes, or whatever the "
            "endpoint returned.",
            evidence,
            _MIGRATE
            if not table.is_today
            else _GARBAGE
            if garbage
            else start_over_or_delete(tables, by_hand),
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


def _fills_missing(
    table: Survey, sides: Sides | None, now: datetime, *, explained: bool
) -> Iterator[Cause]:
    if sides is None or not table.is_today:
        return
    missing = sides.of("fill", "missing")
    mark = table.finished.watermark if table.finished else None
    if explained:
        missing = [one for one in missing if mark is not None and _is_before(one, mark)]
    short = [one for one in sides.of("order") if _lacks_contracts(one)]
    if not missing and not short:
        return
    evidence = []
    explanation = (
        "Fills that a finished sync should have brought are not there: they were removed, or the "
        "exchange showed them late."
    )
    since = ""
    if missing:
        first = min(one.executed_at for one in missing if one.executed_at is not None)
        evidence.append(f"fills missing: {len(missing):,}, the oldest of {first:%Y-%m-%d %H:%M:%S}")
        unread = mark is not None and first >= mark
        if unread and mark is not None and mark < now - SYNC_SILENT:
            explanation = (
                f"Fills are not there that no sync was asked for: what was read ends at "
                f"{mark:%Y-%m-%d %H:%M:%S}."
            )
        since = "" if unread else f"--since {first:%Y-%m-%d}"
    if short:
        evidence.append(f"orders filled more than their fills tell: {len(short):,}")
    yield Cause("fills_missing", explanation, evidence, f"kalshi-fills sync {since}".strip())


def _rows_altered(table: Survey, sides: Sides | None) -> Iterator[Cause]:
    """Name what has other content than the exchange's and is not as a sync wrote it."""
    evidence = []
    since = ""
    if sides is not None:
        altered, of_others = sides.by_writer.altered, sides.by_writer.of_others
        if altered:
            evidence.append(f"rows that a sync wrote and somebody changed since: {len(altered):,}")
        if of_others and not table.event_times.differing:
            evidence.append(f"rows that another writer wrote: {len(of_others):,}")
        if evidence:
            fields = sorted(
                {one.field for one in sides.of("fill", "mismatch") if one.field is not None}
            )
            evidence.append(f"other than the exchange's: {', '.join(fields)}")
            if sides.differs_since is not None:
                since = f" --since {sides.differs_since:%Y-%m-%d}"
    undefined = table.equal_versions
    if undefined.fills:
        evidence.append(f"fills with rows of equal version and other content: {undefined.fills:,}")
        since = f" --since {undefined.oldest:%Y-%m-%d}" if undefined.oldest else " --full"
    if evidence:
        yield Cause(
            "rows_altered",
            "The same fills stand in the table with other content than the exchange's: somebody "
            "changed rows. A sync of the range corrects them.",
            evidence,
            f"kalshi-fills sync{since}",
        )


def _exchange_withdrew_fills(sides: Sides | None, tables: Tables) -> Iterator[Cause]:
    withdrawn = sides.by_writer.withdrawn if sides is not None else []
    if withdrawn:
        first = ", ".join(_quoted(key.fill_id) for key in withdrawn[:3])
        yield Cause(
            "exchange_withdrew_fills",
            "Rows that a sync wrote as the exchange sent them, and that it no longer lists: busted "
            "trades, or fills of another account. Make sure of it with the exchange; no sync "
            "removes them, and truncate --garbage takes them for fills.",
            [f"rows: {len(withdrawn):,}, such as {first}"],
            start_over_or_delete(tables, withdrawn),
        )


def start_over_or_delete(tables: Tables, keys: Sequence[FillKey]) -> str:
    """Return what removes these fills for good: a statement to run by hand, if they are few.

    Args:
        tables: where they are.
        keys: fills that the exchange does not list, and that no mode of truncate tells from others.
    """
    if len(keys) > _NAMED_IN_STATEMENT:
        return "kalshi-fills truncate"
    pairs = ", ".join(
        f"({fill_id}, {order_id})"
        for key in keys
        for fill_id in _spellings(key.fill_id)
        for order_id in _spellings(key.order_id)
    )
    return (
        f"by hand: ALTER TABLE {tables.name()} DELETE WHERE (fill_id, exchange_order_id) IN "
        f"({pairs}) SETTINGS mutations_sync = 2"
    )


def _spellings(text: str) -> list[str]:
    """Return a text as SQL; where it may stand for bytes that are no UTF-8, as those, too."""
    parts = re.split(r"(\\x[0-9a-f]{2})", text)
    as_bytes = [
        part if index % 2 else "".join(map(_spelled, part)) for index, part in enumerate(parts)
    ]
    return list(dict.fromkeys((_quoted(text), f"'{''.join(as_bytes)}'")))


def _quoted(text: str) -> str:
    """Quote a text for SQL; what cannot be seen is spelled out, byte by byte."""
    return "'" + "".join(map(_spelled, text)) + "'"


def _spelled(letter: str) -> str:
    if letter in "\\'":
        return f"\\{letter}"
    if letter.isprintable():
        return letter
    return "".join(f"\\x{byte:02X}" for byte in letter.encode("utf-8", "surrogatepass"))


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
