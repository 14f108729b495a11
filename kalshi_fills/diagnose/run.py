"""Does the table agree with the exchange, and if not, why: six checks, breaks, root causes.

    survey the tables -> compare with the exchange -> check -> name the causes

Nothing here writes, to the database or anywhere else. The table may be of any age, empty or not
there at all: what cannot be checked is skipped, and the report says so.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from kalshi_fills.diagnose.causes import Cause, causes, merge_causes
from kalshi_fills.diagnose.checks import (
    FAIL,
    PASS,
    SKIP,
    SYNC,
    WARN,
    Check,
    check_cadence,
    check_duplicates,
    check_prices,
    check_schema,
)
from kalshi_fills.diagnose.settled import SETTLED, check_settled, settled_causes
from kalshi_fills.diagnose.survey import QueryResult, SurveyQueries, TableSurvey, survey
from kalshi_fills.diagnose.trading import TradingDay, trading_days
from kalshi_fills.diagnose.volume import VOLUME, check_volume
from kalshi_fills.errors import SchemaError
from kalshi_fills.pipeline.window import Window
from kalshi_fills.reconcile.blank import TableFacts
from kalshi_fills.reconcile.breaks import MAX_BREAKS
from kalshi_fills.reconcile.evidence import explain_by_table
from kalshi_fills.reconcile.lookups import TableLookups
from kalshi_fills.reconcile.reader import open_reader
from kalshi_fills.reconcile.reconciliation import Compared, Reconciliation
from kalshi_fills.reconcile.run import read_exchange, reconcile
from kalshi_fills.reconcile.settled import SettledMarkets
from kalshi_fills.reconcile.settlements import compare_stored
from kalshi_fills.warehouse.schema import Schema, schema_of
from kalshi_fills.warehouse.store import FillStore
from kalshi_fills.words import many, one_or_more

if TYPE_CHECKING:
    from kalshi_fills.exchange.endpoints import Exchange
    from kalshi_fills.pipeline.fills import Rejected
    from kalshi_fills.reconcile.breaks import Break
    from kalshi_fills.reconcile.listed import Say
    from kalshi_fills.warehouse.client import Warehouse
    from kalshi_fills.warehouse.statements import Tables

log = logging.getLogger(__name__)


_NOBODY: Final = UUID(int=0)

_GIVING_UP_SECONDS: Final = 2.0
"""How long a survey has to end once it is given up: one of the embedded engine ends by itself."""

_AHEAD: Final = timedelta(days=1)
"""How far beyond this clock the exchange's own may have settled a market."""


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
    days: list[TradingDay] = field(default_factory=list)
    """What was traded and earned, day by day; empty unless asked for."""
    requests: int = 0
    elapsed_seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """The worst status of the checks; one that was skipped does not count.

        But asked to compare with the exchange, a diagnosis that could not is no pass.
        """
        found = {check.status for check in self.checks}
        if FAIL in found:
            return FAIL
        return WARN if WARN in found or self.proves_nothing else PASS

    @property
    def proves_nothing(self) -> bool:
        """Return whether the exchange was asked, and nothing could be compared."""
        return not self.offline and any(
            check.name == VOLUME and check.status == SKIP for check in self.checks
        )

    @property
    def summary(self) -> str:
        """The verdict in a few words."""
        if self.verdict == FAIL:
            failing = sum(check.status == FAIL for check in self.checks)
            return f"{failing} of {len(self.checks)} checks {one_or_more(failing, 'fails', 'fail')}"
        if self.proves_nothing:
            return "nothing could be compared with the exchange"
        if self.verdict == WARN:
            warning = sum(check.status == WARN for check in self.checks)
            warn = one_or_more(warning, "warns", "warn")
            return f"nothing fails, but {many(warning, 'check')} {warn}"
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
                "Rows are as a sync wrote them, but the exchange now reports the same fills with "
                "another content. A sync of the range corrects them.",
                [],
                next(repairs, SYNC),
            )
        if "order" in scopes:
            return Cause(
                "none",
                "Every fill agrees, but the exchange's own orders do not add up to its fills. Ask "
                "its support if this lasts.",
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
        if "settlement" in scopes:
            (repair,) = (check.next for check in self.checks if check.name == SETTLED)
            return Cause(
                "none",
                "What the exchange settled is not what its own fills add up to; the table has the "
                "fills that it lists. Read them again later, and ask its support if this lasts.",
                [],
                repair,
            )
        if self.proves_nothing:
            (volume,) = (check for check in self.checks if check.name == VOLUME)
            return Cause("none", volume.explanation, [], volume.next)
        if any(
            check.name == "no_periodic_cadence" and check.status in (WARN, FAIL)
            for check in self.checks
        ):
            proven = (
                "only the exchange knows whether the rows are fills: run it online."
                if self.offline
                else "yet every fill agrees: the trading itself is timed."
            )
            return Cause("none", f"Counts are as even as those of a clock; {proven}", [], "")
        return Cause("none", "The evidence names no cause.", [], "")


def diagnose(
    warehouse: Warehouse,
    tables: Tables,
    exchange: Exchange | None,
    window: Window,
    now: datetime,
    say: Say = lambda _: None,
    clock: Callable[[], datetime] | None = None,
    *,
    with_days: bool = False,
) -> Diagnosis:
    """Return what is wrong with the tables, compared with the exchange, and why.

    Args:
        warehouse: where the tables are, or should be.
        tables: their names.
        exchange: the account; None to look at the tables only.
        window: the range that is compared.
        now: when the diagnosis began.
        say: is called with what goes on.
        clock: the time against which the times of fills are gated as they are read; by default
            `now` and what has passed since.
        with_days: what was traded and earned is added up by day as well.

    Raises:
        SchemaError: there is a table of that name that is no table of fills.
        ExchangeError: the exchange could not be asked.
        WarehouseError: the tables could not be read.
    """
    began = time.monotonic()
    schema = schema_of_fills(warehouse, tables)
    found = Diagnosis(window, offline=exchange is None)
    lookups = TableLookups(warehouse, tables, window, replaces=schema.replaces)
    store = FillStore(warehouse, tables, _NOBODY, now, dry_run=True)
    say("looking at the table")
    if schema.is_today:
        store.require_every_row()
    queries = SurveyQueries(warehouse, tables, schema, window)
    reconciled: Reconciliation | None = None
    settled = SettledMarkets(skipped="the table has to be migrated first")
    if exchange is None:
        table = survey(queries, schema, now)
        found.notes.append(
            "Offline: whether the exchange has other fills, and whether orders and positions "
            "agree, was not checked."
        )
        if table.is_today:
            say("comparing settled markets")
            settled = compare_stored(lookups, Window(None, now + _AHEAD), table.pending_from)
            explain_by_table(settled, lookups)
            found.compared.settled_markets = settled.agreeing
    else:
        clock = clock or (lambda: now + timedelta(seconds=time.monotonic() - began))
        with _under_way(lambda: survey(queries, schema, now), warehouse) as surveying:

            def accepted(items: Sequence[Rejected]) -> set[str]:
                surveying.result()  # until then its thread alone uses the warehouse
                return store.accepted(items)

            reader = open_reader(exchange, clock)
            read = read_exchange(reader, accepted, window, now, say, is_today=schema.is_today)
            table = surveying.result()
        facts = _facts(table, store)
        reconciled = reconcile(read, reader, store, lookups, facts, table.pending_from, now, say)
        settled = reconciled.settled
        found.breaks, found.more_breaks = reconciled.breaks, reconciled.more_breaks
        found.compared = reconciled.proven
        found.notes += reconciled.notes
        found.requests = exchange.requests
    found.queries = table.queries
    found.hours = _hours(table, reconciled)
    if with_days and table.is_today:
        found.days = trading_days(warehouse, tables)
    found.notes += settled.notes
    room = MAX_BREAKS - len(found.breaks)
    found.more_breaks = found.more_breaks or len(settled.breaks) > room
    found.breaks = [*found.breaks, *settled.breaks[:room]]
    found.checks = [
        check_volume(table, reconciled, now, tables),
        check_schema(table, tables),
        check_prices(table),
        check_cadence(table, reconciled),
        check_duplicates(table, reconciled),
        check_settled(settled, tables),
    ]
    if found.verdict != PASS:
        found.causes = merge_causes(
            causes(table, reconciled, tables, now), settled_causes(settled, tables)
        )
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


@contextlib.contextmanager
def _under_way(
    look: Callable[[], TableSurvey], warehouse: Warehouse
) -> Iterator[Future[TableSurvey]]:
    """Survey the tables in a thread of its own while a `with` block lasts.

    Where the block fails, nobody waits for a ClickHouse that is silent.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix="survey")
    surveying = thread.submit(look)
    try:
        yield surveying
    except BaseException:
        warehouse.give_up()
        wait([surveying], _GIVING_UP_SECONDS)
        raise
    finally:
        thread.shutdown(wait=False)


def settled_markets_differing(warehouse: Warehouse, tables: Tables, now: datetime) -> int:
    """Return how many settled markets that are stored disagree with the table's fills.

    Raises:
        WarehouseError: the tables could not be read.
    """
    window = Window(None, now + _AHEAD)
    queries = SurveyQueries(warehouse, tables, schema_of_fills(warehouse, tables), window)
    lookups = TableLookups(warehouse, tables, window, replaces=True)
    settled = compare_stored(lookups, window, queries.read_until(now))
    explain_by_table(settled, lookups)
    return len({one.market_ticker for one in settled.breaks})


def schema_of_fills(warehouse: Warehouse, tables: Tables) -> Schema:
    """Return what the fills table is like, of whatever age; there may be none.

    Raises:
        SchemaError: there is a table of that name that is no table of fills.
    """
    schema = schema_of(warehouse, tables)
    if schema.exists and not schema.is_of_fills:
        raise SchemaError(
            f"{tables.database}.{tables.fills} is not a table of fills",
            hint="name another table with --table; this one was only looked at",
        )
    return schema


def _facts(table: TableSurvey, store: FillStore) -> TableFacts:
    """Return what a comparison has to know of the table beforehand."""

    def rows_of_sync(part: Window) -> int:
        if not table.has_rows_of_sync:
            return 0
        return sum(hour.fills for hour in store.hours(part.start, part.end).values())

    has_rows = any(one.rows for one in table.profile if one.against_window == "in")
    return TableFacts(table.schema.exists, table.is_today, has_rows, rows_of_sync)


def _hours(table: TableSurvey, reconciled: Reconciliation | None) -> list[HourOfBoth]:
    held = table.rows_per_hour
    listed = reconciled.hours if reconciled else {}
    return [
        HourOfBoth(hour, listed.get(hour, 0) if reconciled else None, held.get(hour, 0))
        for hour in sorted(held.keys() | listed.keys())
    ]
