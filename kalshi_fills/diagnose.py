"""Whether table and exchange agree, and if not, why: five checks, breaks, root causes.

    look at the tables -> hold them against the exchange -> check -> name the causes

Nothing here writes, to the database or anywhere else. The table may be of any age, empty or not
there at all: what cannot be looked at is skipped, and said so.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from kalshi_fills import cadence
from kalshi_fills.causes import Cause, causes, start_over_or_delete
from kalshi_fills.comparison import LARGE_LAG, MAX_BREAKS, Compared, Comparison, Say, Sides
from kalshi_fills.errors import SchemaError
from kalshi_fills.evidence import SYNC_SILENT, Evidence, QueryResult, Survey, survey
from kalshi_fills.exchange import Exchange
from kalshi_fills.fills import EARLIEST_FILL
from kalshi_fills.listing import Window
from kalshi_fills.migrations import Schema, schema_of
from kalshi_fills.pipeline import percent
from kalshi_fills.queries import Tables
from kalshi_fills.reconcile import Break
from kalshi_fills.store import FillStore
from kalshi_fills.warehouse import Warehouse

log = logging.getLogger(__name__)

PASS, WARN, FAIL, SKIP = "pass", "warn", "fail", "skip"

_VOLUME: Final = "volume_matches_api"
_NOBODY: Final = UUID(int=0)
_MIGRATE: Final = "kalshi-fills migrate"
_SYNC: Final = "kalshi-fills sync"
_DIAGNOSE: Final = "kalshi-fills diagnose"
_GARBAGE: Final = "kalshi-fills truncate --garbage"


class Check(NamedTuple):
    """One of the five validations."""

    name: str
    status: str
    """pass, warn, fail or skip."""
    observed: str
    expected: str
    explanation: str
    next: str
    """The command to run next; empty where there is nothing to do."""


class HourOfBoth(NamedTuple):
    """Fills of one hour on both sides."""

    hour: datetime
    exchange: int | None
    """None where the exchange was not asked."""
    table: int


@dataclass(slots=True)
class Diagnosis:
    """What was found."""

    window: Window
    offline: bool
    checks: list[Check] = field(default_factory=list)
    queries: list[QueryResult] = field(default_factory=list)
    compared: Compared = field(default_factory=Compared)
    """What was compared with the exchange."""
    breaks: list[Break] = field(default_factory=list)
    more_breaks: bool = False
    """There are more than `MAX_BREAKS`."""
    causes: list[Cause] = field(default_factory=list)
    """Worst first; empty where nothing is wrong, or for no known reason."""
    notes: list[str] = field(default_factory=list)
    """What was not compared, and what differs for a harmless reason."""
    hours: list[HourOfBoth] = field(default_factory=list)
    requests: int = 0
    elapsed_seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """The worst status of the checks; one that was skipped says nothing.

        But asked to compare with the exchange, a diagnosis that could not is no pass.
        """
        found = {check.status for check in self.checks}
        if FAIL in found:
            return FAIL
        return WARN if WARN in found or self.proves_nothing else PASS

    @property
    def proves_nothing(self) -> bool:
        """Whether the exchange was asked, and nothing could be compared."""
        return not self.offline and any(
            check.name == _VOLUME and check.status == SKIP for check in self.checks
        )

    @property
    def summary(self) -> str:
        """The verdict in a few words."""
        if self.verdict == FAIL:
            failing = sum(check.status == FAIL for check in self.checks)
            return f"{failing} of {len(self.checks)} checks fail"
        if self.proves_nothing:
            return "nothing could be compared with the exchange"
        if self.verdict == WARN:
            return "nothing fails, but look at what is marked"
        if self.offline:
            return "nothing wrong in the table itself; the exchange was not asked"
        return "table and exchange agree"

    @property
    def root_cause(self) -> Cause:
        """The worst cause, or the one called none."""
        if self.causes:
            return self.causes[0]
        if self.verdict == PASS:
            return Cause("none", "Nothing is wrong.", [], "")
        scopes = {one.scope for one in self.breaks}
        if "fill" in scopes:
            repairs = (check.next for check in self.checks if check.next.startswith(_SYNC))
            return Cause(
                "none",
                "Rows are as a sync wrote them, and the exchange tells the same fills otherwise "
                "now. A sync of the range corrects them.",
                [],
                next(repairs, _SYNC),
            )
        if "order" in scopes:
            return Cause(
                "none",
                "Every fill agrees. The exchange's own orders tell something else than its fills "
                "do; ask its support if it stays so.",
                [],
                "",
            )
        if "position" in scopes:
            return Cause(
                "none",
                "Every fill agrees. A position moves without a fill when contracts are transferred "
                "to or from another account.",
                [],
                "",
            )
        if self.proves_nothing:
            (volume,) = (check for check in self.checks if check.name == _VOLUME)
            return Cause("none", volume.explanation, [], volume.next)
        if any(
            check.name == "no_periodic_cadence" and check.status in (WARN, FAIL)
            for check in self.checks
        ):
            proven = (
                "whether the rows are fills, only the exchange can tell: run it online."
                if self.offline
                else "yet every fill agrees: it is the trading itself that is timed."
            )
            return Cause("none", f"Counts are as even as a clock makes them; {proven}", [], "")
        return Cause("none", "For no reason that shows here.", [], "")


def diagnose(
    warehouse: Warehouse,
    tables: Tables,
    exchange: Exchange | None,
    window: Window,
    now: datetime,
    say: Say = lambda _: None,
    clock: Callable[[], datetime] | None = None,
) -> Diagnosis:
    """Look at the tables, hold them against the exchange, and say what is wrong and why.

    Args:
        warehouse: where the tables are, or should be.
        tables: their names.
        exchange: the account; None to look at the tables only.
        window: the range that is compared.
        now: when the diagnosis began.
        say: is told what goes on.
        clock: the time against which the times of fills are gated as they are read; by default
            `now` and what has passed since.

    Raises:
        SchemaError: there is a table of that name, and it is none of fills.
        ExchangeError: the exchange could not be asked.
        WarehouseError: the tables could not be read.
    """
    began = time.monotonic()
    schema = schema_of_fills(warehouse, tables)
    found = Diagnosis(window, offline=exchange is None)
    say("looking at the table")
    table = survey(Evidence(warehouse, tables, schema, window), schema)
    found.queries = table.queries
    sides: Sides | None = None
    store = FillStore(warehouse, tables, _NOBODY, now, dry_run=True)
    if table.is_today:
        store.require_every_row()
    if exchange is None:
        found.notes.append(
            "Offline: whether the exchange has other fills, and whether orders and positions "
            "agree, was not checked."
        )
    else:
        clock = clock or (lambda: now + timedelta(seconds=time.monotonic() - began))
        sides = Comparison(exchange, store, table, window, now, clock, say).run()
        found.breaks, found.more_breaks = sides.breaks, sides.more_breaks
        found.compared = sides.proven
        found.notes += sides.notes
        found.requests = exchange.requests
    found.hours = _hours(table, sides)
    found.checks = [
        _volume(table, sides, now, tables),
        _schema(table, tables),
        _prices(table),
        _cadence(table, sides),
        _duplicates(table, sides),
    ]
    if found.verdict != PASS:
        found.causes = list(causes(table, sides, tables, now))
    found.elapsed_seconds = round(time.monotonic() - began, 3)
    log.info(
        "diagnosis",
        extra={
            "fields": {
                "verdict": found.verdict,
                "checks": {check.name: check.status for check in found.checks},
                "root_causes": [cause.name for cause in found.causes],
                "breaks": len(found.breaks),
                "requests": found.requests,
                "elapsed_seconds": found.elapsed_seconds,
            }
        },
    )
    return found


def schema_of_fills(warehouse: Warehouse, tables: Tables) -> Schema:
    """Say what the fills table is like, of whatever age, if it is one or there is none.

    Raises:
        SchemaError: there is a table of that name, and it is none of fills.
    """
    schema = schema_of(warehouse, tables)
    if schema.exists and not schema.is_of_fills:
        raise SchemaError(
            f"{tables.database}.{tables.fills} is not a table of fills",
            hint="name another table with --table; this one was only looked at",
        )
    return schema


def _hours(table: Survey, sides: Sides | None) -> list[HourOfBoth]:
    held = table.evidence.rows_per_hour() if table.schema.exists else {}
    sent = sides.hours if sides else {}
    return [
        HourOfBoth(hour, sent.get(hour, 0) if sides else None, held.get(hour, 0))
        for hour in sorted(held.keys() | sent.keys())
    ]


def _volume(table: Survey, sides: Sides | None, now: datetime, tables: Tables) -> Check:
    name = _VOLUME
    expected = "every fill of the exchange in the window once, and nothing else"
    if sides is None:
        return _volume_offline(table, name, expected, now)
    seen = f"exchange {sides.exchange_fills:,}, table {sides.table_rows:,}"
    observed = "; ".join([seen, *_counts(sides)])
    if sides.of("fill") or sides.of("order"):
        return Check(
            name, FAIL, observed, expected, _how_many(sides), _repair(table, sides, tables)
        )
    if not table.schema.exists:
        return Check(
            name,
            FAIL if sides.exchange_fills else SKIP,
            observed,
            expected,
            "There is no table.",
            _MIGRATE,
        )
    if sides.claims or table.claims:
        refused = sides.claims or (table.claims.items if table.claims else 0)
        return Check(
            name,
            FAIL if sides.claims else WARN,
            f"{seen}; {_claiming(refused)}",
            expected,
            "What claims to be a fill and cannot be read may be money that is missing.",
            _SYNC,
        )
    if sides.not_compared and not sides.of("position"):
        return Check(
            name,
            SKIP,
            "nothing compared",
            expected,
            f"Nothing could be compared. {sides.not_compared}",
            _again(sides),
        )
    doubts = _doubts(sides)
    if doubts:
        next_steps = [step for _, step in doubts if step]
        return Check(
            name,
            WARN,
            "; ".join([observed, _proven(table, sides)]),
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
        f" {sides.pending:,} newer than the last sync {'comes' if sides.pending == 1 else 'come'} "
        "with the next."
    ) * bool(sides.pending)
    return Check(
        name,
        PASS,
        "; ".join([observed, _proven(table, sides)]),
        expected,
        f"{agreed}{pending}",
        "",
    )


def _counts(sides: Sides) -> list[str]:
    """Return what differs and what is pending, as phrases with their numbers."""
    counts = [
        f"{len(found):,} {one if len(found) == 1 else several}"
        for one, several, found in (
            ("missing", "missing", sides.of("fill", "missing")),
            ("unexpected", "unexpected", sides.of("fill", "unexpected")),
            ("mismatch", "mismatches", _fills_in(sides.of("fill", "mismatch"))),
            ("order that differs", "orders that differ", sides.of("order")),
            ("position that differs", "positions that differ", sides.of("position")),
        )
        if found
    ]
    if sides.more_breaks:
        counts.append(f"and more: only {MAX_BREAKS:,} are named")
    if sides.hidden:
        counts.append(f"{sides.hidden:,} more that this key does not see")
    if sides.pending:
        counts.append(f"{sides.pending:,} pending")
    if sides.pending_orders:
        orders = "order" if sides.pending_orders == 1 else "orders"
        counts.append(f"{sides.pending_orders:,} {orders} pending")
    return counts


def _proven(table: Survey, sides: Sides) -> str:
    """Return what was compared and agrees, as a phrase with its numbers."""
    proven = sides.proven.as_dict()
    orders = f"{sides.proven.orders:,} {'order' if sides.proven.orders == 1 else 'orders'}"
    if not table.is_today:
        return f"compared: number of rows of {orders}"
    fills = f"{sides.proven.fills:,} {'fill' if sides.proven.fills == 1 else 'fills'}"
    positions = f"{sides.proven.positions:,} "
    positions += "position" if sides.proven.positions == 1 else "positions"
    return (
        f"compared: {fills}, {proven['contracts']} contracts, {proven['fees_dollars']} dollars of "
        f"fees; {orders} and {positions} agree"
    )


def _doubts(sides: Sides) -> list[tuple[str, str]]:
    """Return why agreement proves less than was asked for: sentences, each with what to do."""
    doubts: list[tuple[str, str]] = []
    if sides.not_compared:
        doubts.append((f"No fill could be compared. {sides.not_compared}", _again(sides)))
    if sides.of("position"):
        agreed = "" if sides.not_compared else "Every fill and every order agrees; a"
        doubts.append(
            (
                f"{agreed or 'A'} position differs by what no fill tells, as after a transfer to "
                "or from another account.",
                "",
            )
        )
    if sides.restricted:
        doubts.append(
            (
                "The key is restricted to one subaccount; for the others nothing is proven.",
                "use a key that sees the whole account",
            )
        )
    if not sides.not_compared and sides.cut_short_by > LARGE_LAG and not sides.blind:
        doubts.append(
            (
                f"Both sides agree up to {sides.compared.end:%Y-%m-%dT%H:%M:%SZ}; what is newer "
                "the exchange does not call complete yet, and it was not compared.",
                _again(sides),
            )
        )
    doubts += [(sentence, "") for sentence in sides.blind]
    return doubts


def _again(sides: Sides) -> str:
    """Return the command to compare again with: over what the exchange calls complete now."""
    start = sides.asked.start
    if start is None or sides.complete_until > start:
        return _DIAGNOSE
    since = max(sides.complete_until, EARLIEST_FILL + timedelta(days=1)) - timedelta(days=1)
    return f"{_DIAGNOSE} --since {since:%Y-%m-%dT%H:%M:%SZ}"


def _volume_offline(table: Survey, name: str, expected: str, now: datetime) -> Check:
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
            f"{observed}; {_claiming(table.claims.items)}",
            expected,
            "What claims to be a fill and cannot be read may be money that is missing.",
            _SYNC,
        )
    if silent or (run is not None and run.status == "failed"):
        return Check(
            name,
            WARN,
            observed,
            expected,
            "The latest sync failed." if not silent else "No sync has finished for hours.",
            _SYNC,
        )
    return Check(name, SKIP, observed, expected, "This takes the exchange: run it online.", "")


def _claiming(items: int) -> str:
    return f"{items:,} refused item{' claims' if items == 1 else 's claim'} to be fills"


def _fills_in(breaks: list[Break]) -> set[tuple[str | None, str | None]]:
    """Give the fills that breaks are of: one that differs in several fields is one fill."""
    return {(one.fill_id, one.order_id) for one in breaks}


def _repair(table: Survey, sides: Sides, tables: Tables) -> str:
    """Return the command that repairs what differs."""
    if not table.is_today:
        return _MIGRATE
    if sides.of("fill", "unexpected") and not (
        sides.of("fill", "missing") or sides.of("fill", "mismatch")
    ):
        left = sides.by_writer.left_by_garbage
        others = [
            one for one in sides.of("fill", "unexpected") if (one.fill_id, one.order_id) not in left
        ]
        return _GARBAGE if others else start_over_or_delete(tables, left)
    mark = table.finished.watermark if table.finished else None
    since = sides.differs_since
    if mark is None or since is None or since >= mark:
        return _SYNC
    return f"{_SYNC} --since {since:%Y-%m-%d}"


def _how_many(sides: Sides) -> str:
    rows, fills = sides.table_rows, sides.exchange_fills
    if not sides.of("fill", "missing") and not sides.of("fill", "unexpected"):
        if sides.of("fill"):
            return "Both sides have the same fills, but not with the same content."
        if rows == fills:
            return "Every fill agrees, but orders do not add up to their fills."
    if rows > fills:
        times = f", {rows / fills:,.0f} times as many" if fills and rows >= 2 * fills else ""
        return f"The table has rows that are not the exchange's fills{times}."
    if rows < fills:
        return "The table lacks fills of the exchange."
    return "As many rows as fills, but not the same ones."


def _schema(table: Survey, tables: Tables) -> Check:
    name = "schema_migrated"
    expected = "every column, the engine and the sort key of today; fill_id is a String"
    if not table.schema.exists:
        where = f"{tables.database}.{tables.fills}"
        return Check(name, FAIL, f"no table {where}", expected, "Nothing is there yet.", _MIGRATE)
    problems = [
        *sorted(table.schema.problems, key=lambda problem: "fill_id" not in problem),
        *(f"the table {other} is missing" for other in table.schema.others_missing),
    ]
    if table.schema.others_behind and not problems:
        return Check(
            name,
            FAIL,
            "; ".join(table.schema.others_behind[:3]),
            expected,
            "The fills table is today's; the tables beside it are those of an earlier version.",
            _MIGRATE,
        )
    if problems:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        return Check(
            name,
            FAIL,
            "; ".join(problems[:3]) + more,
            expected,
            "The table was never migrated, or only in part; without fill_id in its key nothing "
            "can keep a fill from being there twice.",
            _MIGRATE,
        )
    return Check(name, PASS, "as it must be", expected, "The tables are today's.", "")


def _prices(table: Survey) -> Check:
    name = "prices_valid"
    expected = "0 < price < 1 dollar in every row, none at 0"
    rows = table.rows
    if not rows:
        return Check(name, SKIP, "no rows", expected, "There is nothing to look at.", "")
    zero = sum(part.price_0 for part in table.profile)
    outside = sum(part.price_outside for part in table.profile)
    empty = sum(part.no_quantity for part in table.profile)
    if outside or empty:
        of_all = percent(zero or outside or empty, rows)
        what = (
            f"price 0 in {zero:,} of {rows:,} rows ({of_all})"
            if zero
            else f"price outside in {outside:,} of {rows:,} rows ({of_all})"
            if outside
            else f"no quantity in {empty:,} of {rows:,} rows ({of_all})"
        )
        return Check(
            name,
            FAIL,
            what,
            expected,
            "No fill has such a price or quantity: these rows were never fills.",
            _GARBAGE if table.is_today else _MIGRATE,
        )
    return Check(name, PASS, f"{rows:,} rows, none at 0", expected, "All could be fills.", "")


def _cadence(table: Survey, sides: Sides | None) -> Check:
    name = "no_periodic_cadence"
    found = table.regularity
    expected = f"p >= {cadence.FALSE_ALARM_RATE:g} ({cadence.TEST_NAME})"
    if found is None:
        return Check(
            name,
            SKIP,
            "too few minutes with rows",
            expected,
            "Regularity shows in ten neighbouring minutes with a row each, or more.",
            "",
        )
    per = "minute" if found.bin_minutes == 1 else f"{found.bin_minutes} minutes"
    observed = (
        f"D = {found.statistic:.2f}, {found.degrees_of_freedom} degrees of freedom, "
        f"p = {found.p_value:.2g}; {found.minutes:,} minutes tested, "
        f"{found.mean:,.1f} rows a {per} from {found.since:%Y-%m-%d %H:%M}"
    )
    if found.is_periodic and sides is not None and sides.every_fill_agrees and table.is_today:
        return Check(
            name,
            WARN,
            observed,
            expected,
            "So even a count is made by a clock; but every fill of the window agrees with the "
            "exchange, so that it is the trading itself that is timed.",
            "",
        )
    if found.is_periodic:
        return Check(
            name,
            FAIL,
            observed,
            expected,
            "So even a count is made by a clock: something writes rows each time it polls.",
            "find the process that polls the fills endpoint and writes what comes; stop it",
        )
    return Check(name, PASS, observed, expected, "As uneven as trading is.", "")


def _duplicates(table: Survey, sides: Sides | None) -> Check:
    name = "no_duplicate_rows"
    expected = "each fill once, no order with more rows than the exchange has fills for it"
    if not table.rows:
        return Check(name, SKIP, "no rows", expected, "There is nothing to look at.", "")
    found: list[str] = []
    if table.repeats.fills:
        fills, rows = table.repeats
        found.append(f"{fills:,} {'fill stands' if fills == 1 else 'fills stand'} in {rows:,} rows")
    undefined = table.equal_versions
    if undefined.fills:
        found.append(
            f"{undefined.fills:,} {'fill has' if undefined.fills == 1 else 'fills have'} rows of "
            "equal version and other content"
        )
    largest = table.answer("rows_per_order").rows
    if sides is not None:
        over = _orders_with_too_many(sides)
        if over:
            found.append(
                f"{over:,} {'order has' if over == 1 else 'orders have'} more rows than fills"
            )
    if not found:
        return Check(
            name, PASS, f"{table.rows:,} rows, each once", expected, "No row is there twice.", ""
        )
    if undefined.fills and len(found) == 1:
        since = f" --since {undefined.oldest:%Y-%m-%d}" if undefined.oldest else " --full"
        return Check(
            name,
            FAIL,
            found[0],
            expected,
            "Which of these rows counts is undefined, and changes when parts are merged.",
            f"{_SYNC}{since}",
        )
    if largest and int(largest[0][2]) > 1:
        found.append(f"order {largest[0][0]} alone has {int(largest[0][2]):,} rows")
    return Check(
        name,
        FAIL,
        "; ".join(found),
        expected,
        "The same was written again and again, or what was written is no fill.",
        _GARBAGE if table.is_today else _MIGRATE,
    )


def _orders_with_too_many(sides: Sides) -> int:
    balance: dict[str | None, int] = {}
    for one in sides.breaks:
        if one.scope == "fill" and one.kind in ("missing", "unexpected"):
            step = 1 if one.kind == "unexpected" else -1
            balance[one.order_id] = balance.get(one.order_id, 0) + step
        elif one.scope == "order" and one.field == "fills":
            balance[one.order_id] = int(one.table or 0) - int(one.exchange or 0)
    return sum(surplus > 0 for surplus in balance.values())
