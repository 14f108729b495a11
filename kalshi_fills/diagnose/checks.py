"""The validations of what is in the table; the one of both sides is in `volume`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from kalshi_fills.diagnose import cadence
from kalshi_fills.pipeline.stages import percent
from kalshi_fills.words import many, one_or_more

if TYPE_CHECKING:
    from kalshi_fills.diagnose.survey import TableSurvey
    from kalshi_fills.reconcile.reconciliation import Reconciliation
    from kalshi_fills.warehouse.statements import Tables

PASS, WARN, FAIL, SKIP = "pass", "warn", "fail", "skip"

MIGRATE: Final = "kalshi-fills migrate"

SYNC: Final = "kalshi-fills sync"

GARBAGE: Final = "kalshi-fills truncate --garbage"


class Check(NamedTuple):
    """One of the six validations."""

    name: str
    status: str
    """pass, warn, fail or skip."""
    observed: str
    expected: str
    explanation: str
    next: str
    """The command to run next; empty where there is nothing to do."""


def check_schema(table: TableSurvey, tables: Tables) -> Check:
    """Check that the tables are today's."""
    name = "schema_migrated"
    expected = "every column, the engine and the sort key of today; fill_id is a String"
    if not table.schema.exists:
        where = f"{tables.database}.{tables.fills}"
        return Check(name, FAIL, f"no table {where}", expected, "Nothing is there yet.", MIGRATE)
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
            MIGRATE,
        )
    if problems:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        return Check(
            name,
            FAIL,
            "; ".join(problems[:3]) + more,
            expected,
            "The table was never migrated, or only in part; without fill_id in its sort key "
            "nothing keeps a fill from being there twice.",
            MIGRATE,
        )
    return Check(name, PASS, "as it must be", expected, "The tables are today's.", "")


def check_prices(table: TableSurvey) -> Check:
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
            f"price 0 in {zero:,} of {many(rows, 'row')} ({of_all})"
            if zero
            else f"price outside in {outside:,} of {many(rows, 'row')} ({of_all})"
            if outside
            else f"no quantity in {empty:,} of {many(rows, 'row')} ({of_all})"
        )
        return Check(
            name,
            FAIL,
            what,
            expected,
            "No fill has such a price or quantity: these rows were never fills.",
            GARBAGE if table.is_today else MIGRATE,
        )
    return Check(name, PASS, f"{many(rows, 'row')}, none at 0", expected, "All could be fills.", "")


def check_cadence(table: TableSurvey, reconciled: Reconciliation | None) -> Check:
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
    observed = (
        f"{_rows_each_time(found)} from {found.since:%Y-%m-%d %H:%M} UTC on (D = "
        f"{found.statistic:.2f}, {found.degrees_of_freedom} degrees of freedom, p = "
        f"{found.p_value:.2g}; {many(found.minutes, 'minute')} tested)"
    )
    if (
        found.is_periodic
        and reconciled is not None
        and reconciled.every_fill_agrees
        and table.is_today
    ):
        return Check(
            name,
            WARN,
            observed,
            expected,
            "Counts as even as these come from a clock; but every fill of the window agrees with "
            "the exchange, so the trading itself is timed.",
            "",
        )
    if found.is_periodic:
        return Check(
            name,
            FAIL,
            observed,
            expected,
            "Counts as even as these come from a clock: something writes rows each time it polls.",
            "find the process that polls the fills endpoint and writes what comes; stop it",
        )
    return Check(name, PASS, observed, expected, "As uneven as trading is.", "")


def _rows_each_time(found: cadence.Regularity) -> str:
    """Return how many rows there are at a time, as `79 or 80 rows every minute`."""
    each = "every minute" if found.bin_minutes == 1 else f"every {found.bin_minutes} minutes"
    if found.fewest == found.most:
        return f"{many(found.most, 'row')} {each}"
    between = "or" if found.most - found.fewest == 1 else "to"
    return f"{found.fewest:,} {between} {found.most:,} rows {each}"


def check_duplicates(table: TableSurvey, reconciled: Reconciliation | None) -> Check:
    """Check that no fill stands twice."""
    name = "no_duplicate_rows"
    expected = "each fill once, no order with more rows than the exchange has fills for it"
    if not table.rows:
        return Check(name, SKIP, "no rows", expected, "There is nothing to look at.", "")
    found: list[str] = []
    if table.repeats.fills:
        fills, rows = table.repeats
        found.append(
            f"{many(fills, 'fill')} {one_or_more(fills, 'stands', 'stand')} in {many(rows, 'row')}"
        )
    undefined = table.equal_versions
    if undefined.fills:
        have = one_or_more(undefined.fills, "has", "have")
        found.append(
            f"{many(undefined.fills, 'fill')} {have} rows of equal version and different content"
        )
    over = _orders_with_too_many(reconciled) if reconciled is not None else set()
    if over:
        have = one_or_more(len(over), "has", "have")
        found.append(f"{many(len(over), 'order')} {have} more rows than fills")
    if not found:
        return Check(
            name,
            PASS,
            f"{many(table.rows, 'row')}, {one_or_more(table.rows, 'once', 'each once')}",
            expected,
            "No row is there twice.",
            "",
        )
    if undefined.fills and len(found) == 1:
        since = f" --since {undefined.oldest:%Y-%m-%d}" if undefined.oldest else " --full"
        return Check(
            name,
            FAIL,
            found[0],
            expected,
            "Which of these rows counts is undefined, and may change when parts are merged.",
            f"{SYNC}{since}",
        )
    largest = next(iter(table.largest_orders), None)
    if (
        largest is not None
        and largest.rows > 1
        and (table.repeats.fills or largest.order_id in over)
    ):
        found.append(f"order {largest.order_id} alone has {many(largest.rows, 'row')}")
    return Check(
        name,
        FAIL,
        "; ".join(found),
        expected,
        "The same fills were written again and again, or rows that are no fills.",
        GARBAGE if table.is_today else MIGRATE,
    )


def _orders_with_too_many(reconciled: Reconciliation) -> set[str | None]:
    """Return the orders that have more rows in the table than fills at the exchange."""
    balance: dict[str | None, int] = {}
    for one in reconciled.breaks:
        if one.scope == "fill" and one.kind in ("missing", "unexpected"):
            step = 1 if one.kind == "unexpected" else -1
            balance[one.order_id] = balance.get(one.order_id, 0) + step
        elif one.scope == "order" and one.field == "fills":
            rows, fills = one.table or 0, one.exchange or 0
            if isinstance(rows, int) and isinstance(fills, int):
                balance[one.order_id] = rows - fills
    return {order_id for order_id, surplus in balance.items() if surplus > 0}
