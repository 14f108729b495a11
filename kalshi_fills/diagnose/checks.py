"""The validations that decide the verdict."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from kalshi_fills.diagnose.causes import start_over_or_delete
from kalshi_fills.pipeline.fills import EARLIEST_FILL, FillKey
from kalshi_fills.pipeline.stages import percent
from kalshi_fills.reconcile import cadence
from kalshi_fills.reconcile.breaks import Break
from kalshi_fills.reconcile.run import LARGE_LAG, MAX_BREAKS, Sides
from kalshi_fills.reconcile.survey import SYNC_SILENT, Survey
from kalshi_fills.warehouse.statements import Tables

PASS, WARN, FAIL, SKIP = "pass", "warn", "fail", "skip"

VOLUME: Final = "volume_matches_api"

_MIGRATE: Final = "kalshi-fills migrate"

SYNC: Final = "kalshi-fills sync"

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


def check_volume(table: Survey, sides: Sides | None, now: datetime, tables: Tables) -> Check:
    """Check that table and exchange hold the same fills."""
    name = VOLUME
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
            SYNC,
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
    return Check(name, SKIP, observed, expected, "This takes the exchange: run it online.", "")


def _claiming(items: int) -> str:
    return f"{items:,} refused item{' claims' if items == 1 else 's claim'} to be fills"


def _fills_in(breaks: list[Break]) -> set[FillKey]:
    """Return the fills that breaks are of: one that differs in several fields is one fill."""
    return {one.key for one in breaks}


def _repair(table: Survey, sides: Sides, tables: Tables) -> str:
    """Return the command that repairs what differs."""
    if not table.is_today:
        return _MIGRATE
    if sides.of("fill", "unexpected") and not (
        sides.of("fill", "missing") or sides.of("fill", "mismatch")
    ):
        left = sides.by_writer.left_by_garbage
        others = [one for one in sides.of("fill", "unexpected") if one.key not in left]
        return _GARBAGE if others else start_over_or_delete(tables, left)
    mark = table.finished.watermark if table.finished else None
    since = sides.differs_since
    if mark is None or since is None or since >= mark:
        return SYNC
    return f"{SYNC} --since {since:%Y-%m-%d}"


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


def check_schema(table: Survey, tables: Tables) -> Check:
    """Check that the tables are today's."""
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


def check_prices(table: Survey) -> Check:
    """Check that every price is one."""
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


def check_cadence(table: Survey, sides: Sides | None) -> Check:
    """Check that rows do not come by a clock."""
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


def check_duplicates(table: Survey, sides: Sides | None) -> Check:
    """Check that no fill stands twice."""
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
            f"{SYNC}{since}",
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
            rows, fills = one.table or 0, one.exchange or 0
            if isinstance(rows, int) and isinstance(fills, int):
                balance[one.order_id] = rows - fills
    return sum(surplus > 0 for surplus in balance.values())
