"""What the tables say of themselves, in whatever state they are. Reads, and never writes.

The statements of `queries/diagnose/` are for people and run by hand as well; those of
`queries/reconcile/` are the tool's own. All of them take a table of any age: a column that is not
there counts as empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from kalshi_fills.diagnose import cadence
from kalshi_fills.pipeline.fills import EARLIEST_FILL, KNOWN_KEYS
from kalshi_fills.warehouse.client import Row, Warehouse, select
from kalshi_fills.warehouse.statements import Tables, load, names

if TYPE_CHECKING:
    from kalshi_fills.pipeline.window import Window
    from kalshi_fills.warehouse.schema import Schema

SYNC_SILENT: Final = timedelta(hours=2)
"""A sync that has not finished for longer counts as not running."""

_LAG_OF_WATERMARK: Final = timedelta(minutes=15)

_FOLDER: Final = "diagnose"

_PER_MINUTE: Final = "volume_per_minute"
"""The query that tells the beginning of minutes in seconds since 1970."""

R = TypeVar("R", bound=NamedTuple)

_COLUMNS: Final[Mapping[str, Sequence[str]]] = {
    "decision_id_coverage": (
        "writer", "rows", "with_decision_id", "with_client_order_id", "with_engine",
    ),
    "fill_id_uniqueness": (
        "rows", "without_fill_id", "id_in_payload_only", "fills", "repeated_rows",
    ),
    "five_minute_pattern": ("five_minutes", "rows", "lowest_minute", "highest_minute"),
    "new_against_old": (
        "writer", "against_window", "rows", "price_0", "price_outside", "no_quantity",
        "without_fill_id", "first_ts", "last_ts",
    ),
    "price_distribution": ("price_in_cents", "rows", "percent"),
    "rows_per_order": ("order_id", "market_ticker", "rows", "fill_ids", "first_ts", "last_ts"),
    "rows_that_are_no_fills": (
        "problem", "payload", "rows", "orders", "first_ts", "last_ts", "example_order",
        "example_payload",
    ),
    "schema": ("column", "type", "in_sort_key", "engine"),
    "side_distribution": ("side", "action", "rows", "contracts"),
    _PER_MINUTE: ("minute", "rows", "price_0"),
}  # fmt: skip
"""What the columns of each diagnostic query are called in reports, in order."""


class QueryResult(NamedTuple):
    """The answer of one diagnostic query."""

    name: str
    title: str
    shows: str
    normal: str
    columns: Sequence[str]
    rows: list[Row]

    def select(self, row_type: type[R]) -> list[R]:
        """Return the rows as NamedTuples whose fields are some of the columns."""
        places = [self.columns.index(name) for name in row_type._fields]
        return [row_type._make(row[place] for place in places) for row in self.rows]


class Profile(NamedTuple):
    """Rows of one writer on one side of the window, and what is wrong with them."""

    writer: str
    """live or historical (sync), legacy (carried over by migrate), empty (an engine)."""
    against_window: str
    """before, in or after."""
    rows: int
    price_0: int
    price_outside: int
    """Price not between 0 and 1 dollar, price 0 among them."""
    no_quantity: int
    without_fill_id: int
    first_ts: datetime
    last_ts: datetime

    @property
    def by_sync(self) -> bool:
        """Return whether sync wrote these rows."""
        return self.writer in ("live", "historical")


class NoFills(NamedTuple):
    """Rows of the window that are no fills, by what is wrong with them."""

    problem: str
    """Empty where only the payload is that of something else."""
    payload: str
    rows: int
    orders: int


class LargestOrder(NamedTuple):
    """An order with many rows in the window."""

    order_id: str
    rows: int


class MinuteRows(NamedTuple):
    """The rows of one minute."""

    minute: datetime
    rows: int


class Repeats(NamedTuple):
    """Fills that stand in the table more than once."""

    fills: int = 0
    row_count: int = 0


class EventTimes(NamedTuple):
    """Rows of other writers against the time in their payload."""

    looked_at: int = 0
    differing: int = 0
    worst_seconds: int | None = 0


class Claims(NamedTuple):
    """Refused items that claim to be fills and that the operator has not accepted."""

    claims: int
    first_time: datetime
    last_time: datetime
    latest_reason: str
    latest_keys: list[str]

    @property
    def new_keys(self) -> list[str]:
        """Those keys that no fill ever had."""
        return sorted(set(self.latest_keys) - KNOWN_KEYS)


class LatestRun(NamedTuple):
    """How the latest sync went."""

    status: str
    started_at: datetime
    finished_at: datetime | None
    error: str


class FinishedRun(NamedTuple):
    """The last sync that ran to its end, or a truncate that set its watermark back."""

    run_id: object
    watermark: datetime | None
    finished_at: datetime | None


class EqualVersions(NamedTuple):
    """Fills of which several rows, not of the same content, have the same highest version."""

    fills: int = 0
    oldest: datetime | None = None


class _ReadUntil(NamedTuple):
    window_end: datetime
    watermark: datetime | None


class _DistinctIds(NamedTuple):
    row_count: int
    fills: int


class _HourRows(NamedTuple):
    hour: datetime
    row_count: int


class _RowCount(NamedTuple):
    row_count: int


class SurveyQueries:
    """The queries of a survey: on the fills table and the ledgers beside it, for one window."""

    def __init__(
        self, warehouse: Warehouse, tables: Tables, schema: Schema, window: Window
    ) -> None:
        self._warehouse = warehouse
        self._tables = tables
        self._schema = schema
        self._bounds: dict[str, datetime | str] = {
            "start": window.start or EARLIEST_FILL,
            "end": window.end,
            "database": tables.database,
            "table": tables.fills,
        }

    def query(self, name: str) -> QueryResult:
        """Run one of the diagnostic queries, by the name of its file."""
        statement = load(f"{_FOLDER}/{name}")
        rows: list[Row] = []
        if self._schema.exists:
            sql = self._sql(f"{_FOLDER}/{name}")
            rows = self._warehouse.rows(sql, self._params(sql))
            if name == _PER_MINUTE:  # many numbers are read in a fraction of the time of moments
                rows = [
                    (datetime.fromtimestamp(minute, UTC), row_count, price_0)
                    for minute, row_count, price_0 in rows
                ]
        return QueryResult(
            name, statement.title, statement.shows, statement.normal, _COLUMNS[name], rows
        )

    def repeats(self, *, look_into_payloads: bool) -> Repeats:
        """Return how many fills stand in the table more than once.

        Args:
            look_into_payloads: some rows have an id in their payload only, or none.
        """
        if not look_into_payloads:
            (distinct,) = self._select(_DistinctIds, "reconcile/distinct_ids")
            if distinct.row_count == distinct.fills:
                return Repeats()
        name = "repeats_by_payload" if look_into_payloads else "repeats_by_id"
        (found,) = self._select(Repeats, f"reconcile/{name}")
        return found

    def event_times(self) -> EventTimes:
        """Return how the times of other writers' rows compare with those in their payloads."""
        (found,) = self._select(EventTimes, "reconcile/event_times")
        return found

    def rows_per_hour(self) -> dict[datetime, int]:
        """Return the number of rows of the window by hour."""
        return {
            one.hour: one.row_count for one in self._select(_HourRows, "reconcile/rows_per_hour")
        }

    def claims(self) -> Claims | None:
        """Return what is refused, claims to be fills and was not accepted; None if nothing is."""
        if not self._has("_rejected"):
            return None
        (found,) = self._select(Claims, "reconcile/claims")
        return found if found.claims else None

    def latest_run(self) -> LatestRun | None:
        """Return the latest run of sync, None if there never was one."""
        found = self._select(LatestRun, "reconcile/latest_run") if self._has("_runs") else []
        return next(iter(found), None)

    def last_finished(self) -> FinishedRun | None:
        """Return the entry whose watermark counts, None if there is none."""
        found = self._select(FinishedRun, "sync/last_run") if self._has("_runs") else []
        return next(iter(found), None)

    def read_until(self, now: datetime) -> datetime | None:
        """Return the time from which on a fill may still be on its way; None if there is none.

        That is the end of the latest window among the syncs that ended within `SYNC_SILENT`. Where
        the exchange called its data complete only up to a little before that end, which is where
        the watermark then is, what came later is the next sync's as well.
        """
        if not self._has("_runs"):
            return None
        for read in self._select(_ReadUntil, "reconcile/read_until", lately=now - SYNC_SILENT):
            if read.watermark is not None:
                behind = read.window_end - read.watermark
                if timedelta(0) <= behind <= _LAG_OF_WATERMARK + timedelta(seconds=1):
                    return read.watermark
            return read.window_end
        return None

    def equal_versions(self, rows: int) -> EqualVersions:
        """Return how many fills have an undefined content: rows of equal version differ.

        Args:
            rows: the rows under FINAL.
        """
        (physical,) = self._select(_RowCount, "reconcile/physical_rows")
        if physical.row_count <= rows:
            return EqualVersions()
        (found,) = self._select(EqualVersions, "reconcile/equal_versions")
        return found if found.fills else EqualVersions()

    def _has(self, suffix: str) -> bool:
        return self._tables.fills + suffix not in self._schema.others_missing

    def _select(self, row_type: type[R], name: str, **more: datetime) -> list[R]:
        sql = self._sql(name)
        return select(self._warehouse, row_type, sql, self._params(sql, **more))

    def _sql(self, name: str) -> str:
        return self._tables.sql(name, final=self._schema.replaces)

    def _params(self, sql: str, **more: datetime) -> Mapping[str, datetime | str] | None:
        known: dict[str, datetime | str] = {**self._bounds, **more}
        return {key: value for key, value in known.items() if f"{{{key}:" in sql} or None


@dataclass(slots=True)
class TableSurvey:
    """Everything that a diagnosis looked up in the tables, once."""

    schema: Schema
    queries: list[QueryResult] = field(default_factory=list)
    profile: list[Profile] = field(default_factory=list)
    no_fills: list[NoFills] = field(default_factory=list)
    largest_orders: list[LargestOrder] = field(default_factory=list)
    repeats: Repeats = field(default_factory=Repeats)
    event_times: EventTimes = field(default_factory=EventTimes)
    regularity: cadence.Regularity | None = None
    rows_per_hour: dict[datetime, int] = field(default_factory=dict)
    claims: Claims | None = None
    latest_run: LatestRun | None = None
    finished: FinishedRun | None = None
    equal_versions: EqualVersions = field(default_factory=EqualVersions)
    pending_from: datetime | None = None
    """From here on a fill may still be on its way; None where nothing is, as after a failure."""

    @property
    def is_today(self) -> bool:
        """Return whether all tables are of today's schema."""
        return self.schema.is_today

    @property
    def rows(self) -> int:
        """Rows of the whole table."""
        return sum(part.rows for part in self.profile)

    @property
    def has_rows_of_sync(self) -> bool:
        """Return whether a sync wrote some of the rows."""
        return any(part.by_sync for part in self.profile)

    def garbage(self, *where: str) -> int:
        """Return the number of rows outside the gates on these sides of the window."""
        return sum(
            max(part.price_outside, part.no_quantity)
            for part in self.profile
            if part.against_window in where
        )

    def answer(self, name: str) -> QueryResult:
        """Return the answer of one diagnostic query."""
        return next(query for query in self.queries if query.name == name)


def survey(queries: SurveyQueries, schema: Schema, now: datetime) -> TableSurvey:
    """Return what the tables say of themselves; of a table that is not there, nothing.

    Raises:
        WarehouseError: the tables could not be read.
    """
    table = TableSurvey(schema)
    table.queries = [queries.query(name) for name in query_names()]
    if not schema.exists:
        return table
    table.profile = table.answer("new_against_old").select(Profile)
    table.no_fills = table.answer("rows_that_are_no_fills").select(NoFills)
    table.largest_orders = table.answer("rows_per_order").select(LargestOrder)
    without_id = sum(part.without_fill_id for part in table.profile)
    table.repeats = queries.repeats(look_into_payloads=without_id > 0)
    if any(not part.by_sync for part in table.profile):
        table.event_times = queries.event_times()
    per_minute = table.answer(_PER_MINUTE).select(MinuteRows)
    table.regularity = cadence.regularity({one.minute: one.rows for one in per_minute})
    table.rows_per_hour = queries.rows_per_hour()
    table.claims = queries.claims()
    table.latest_run = queries.latest_run()
    table.finished = queries.last_finished()
    if table.is_today:
        table.equal_versions = queries.equal_versions(table.rows)
        if table.latest_run is None or table.latest_run.status != "failed":
            table.pending_from = queries.read_until(now)
    return table


def query_names() -> list[str]:
    """Return the names of the diagnostic queries."""
    return [name.removeprefix(f"{_FOLDER}/") for name in names(_FOLDER)]
