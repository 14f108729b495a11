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

from kalshi_fills.diagnose.causes import Cause, causes
from kalshi_fills.diagnose.checks import (
    FAIL,
    PASS,
    SKIP,
    SYNC,
    VOLUME,
    WARN,
    Check,
    check_cadence,
    check_duplicates,
    check_prices,
    check_schema,
    check_volume,
)
from kalshi_fills.errors import SchemaError
from kalshi_fills.exchange.endpoints import Exchange
from kalshi_fills.pipeline.window import Window
from kalshi_fills.reconcile.breaks import Break
from kalshi_fills.reconcile.run import Compared, Comparison, Say, Sides
from kalshi_fills.reconcile.survey import Evidence, QueryResult, Survey, survey
from kalshi_fills.warehouse.client import Warehouse
from kalshi_fills.warehouse.schema import Schema, schema_of
from kalshi_fills.warehouse.statements import Tables
from kalshi_fills.warehouse.store import FillStore

log = logging.getLogger(__name__)


_NOBODY: Final = UUID(int=0)


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
            check.name == VOLUME and check.status == SKIP for check in self.checks
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
            repairs = (check.next for check in self.checks if check.next.startswith(SYNC))
            return Cause(
                "none",
                "Rows are as a sync wrote them, and the exchange tells the same fills otherwise "
                "now. A sync of the range corrects them.",
                [],
                next(repairs, SYNC),
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
            (volume,) = (check for check in self.checks if check.name == VOLUME)
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
        check_volume(table, sides, now, tables),
        check_schema(table, tables),
        check_prices(table),
        check_cadence(table, sides),
        check_duplicates(table, sides),
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
