"""What the tables say of themselves, in whatever state they are. Reads, and never writes.

The statements of `queries/diagnose/` are for people and run by hand as well; those of
`queries/reconcile/` are the tool's own. All of them take a table of any age: a column that is not
there counts as empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from kalshi_fills.pipeline.content import Content
from kalshi_fills.pipeline.fills import EARLIEST_FILL, KNOWN_KEYS, FillKey
from kalshi_fills.pipeline.window import Window
from kalshi_fills.reconcile import cadence
from kalshi_fills.warehouse.client import Row, TextTable, Warehouse
from kalshi_fills.warehouse.schema import Schema
from kalshi_fills.warehouse.statements import Tables, load, names

SYNC_SILENT: Final = timedelta(hours=2)
"""A sync that has not finished for longer is called not running."""

_FOLDER: Final = "diagnose"

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
    "volume_per_minute": ("minute", "rows", "price_0"),
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
        """Whether sync wrote these rows."""
        return self.writer in ("live", "historical")


class Repeats(NamedTuple):
    """Fills that stand in the table more than once."""

    fills: int
    rows: int


class EventTimes(NamedTuple):
    """Rows of other writers against the time in their payload."""

    looked_at: int
    differing: int
    worst_seconds: int


_NO_REPEATS: Final = Repeats(0, 0)

_NO_TIMES: Final = EventTimes(0, 0, 0)

_LAG_OF_WATERMARK: Final = timedelta(minutes=15)

_LOOKED_UP_AT_ONCE: Final = 1_000


class Claims(NamedTuple):
    """Refused items that claim to be fills and that the operator has not accepted."""

    items: int
    first_seen: datetime
    last_seen: datetime
    reason: str
    keys: list[str]

    @property
    def new_keys(self) -> list[str]:
        """Those keys that no fill ever had."""
        return sorted(set(self.keys) - KNOWN_KEYS)


class LatestRun(NamedTuple):
    """How the latest sync went."""

    status: str
    started_at: datetime
    finished_at: datetime | None
    error: str


class FinishedRun(NamedTuple):
    """The last sync that ran to its end, or a truncate that set its watermark back."""

    watermark: datetime | None
    finished_at: datetime | None


class ReadUntil(NamedTuple):
    """How far the syncs that ended lately have read."""

    window_end: datetime
    watermark: datetime | None


class Writer(NamedTuple):
    """Who wrote the row of a fill."""

    by_sync: bool
    as_written: bool
    """The content is still the one that its sync wrote."""
    passes_gates: bool
    """It could be a fill: `truncate --garbage` leaves it."""


class EqualVersions(NamedTuple):
    """Fills of which several rows, not of the same content, have the same highest version."""

    fills: int
    oldest: datetime | None


_NO_EQUAL_VERSIONS: Final = EqualVersions(0, None)


class OrderSums(NamedTuple):
    """What the table's fills of one order add up to."""

    contracts: Decimal
    fees_dollars: Decimal | None
    """None where a fee is not known."""


class Evidence:
    """The fills table and the ledgers beside it, for one window."""

    def __init__(
        self, warehouse: Warehouse, tables: Tables, schema: Schema, window: Window
    ) -> None:
        self._warehouse = warehouse
        self._tables = tables
        self._schema = schema
        self._bounds = {
            "start": window.start or EARLIEST_FILL,
            "end": window.end,
            "database": tables.database,
            "table": tables.fills,
        }

    def query(self, name: str) -> QueryResult:
        """Run one of the diagnostic queries, by the name of its file."""
        statement = load(f"{_FOLDER}/{name}")
        rows = self._rows(f"{_FOLDER}/{name}") if self._schema.exists else []
        return QueryResult(
            name, statement.title, statement.shows, statement.normal, _COLUMNS[name], rows
        )

    def profile(self, answered: QueryResult) -> list[Profile]:
        """Give the answer of `new_against_old` as what it means."""
        return [Profile(*row) for row in answered.rows]

    def repeats(self, *, look_into_payloads: bool) -> Repeats:
        """Count the fills that stand in the table more than once.

        Args:
            look_into_payloads: some rows have an id in their payload only, or none.
        """
        if not look_into_payloads:
            rows, fills = self._rows("reconcile/distinct_ids")[0]
            if rows == fills:
                return Repeats(0, 0)
        name = "repeats_by_payload" if look_into_payloads else "repeats_by_id"
        fills, rows = self._rows(f"reconcile/{name}")[0]
        return Repeats(int(fills), int(rows))

    def event_times(self) -> EventTimes:
        """Hold the times of rows that other writers wrote against those in their payloads."""
        looked_at, differing, worst = self._rows("reconcile/event_times")[0]
        return EventTimes(int(looked_at), int(differing), int(worst or 0))

    def rows_per_hour(self) -> dict[datetime, int]:
        """Count the rows of the window by hour."""
        return {hour: int(rows) for hour, rows in self._rows("reconcile/rows_per_hour")}

    def rows_of_orders(self) -> dict[str, tuple[str, int]]:
        """Give market and number of rows of the window by order, a million orders at most."""
        found = self._rows("reconcile/rows_of_orders")
        return {order: (market, int(rows)) for order, market, rows in found}

    def orders_of_window(self) -> list[tuple[str, str]]:
        """Return order id and market of the window's fills, the oldest first, 5,000 at most."""
        return [(order, market) for order, market in self._rows("reconcile/orders_of_window")]

    def claims(self) -> Claims | None:
        """Give what is refused, claims to be fills and was not accepted; None if there is none."""
        if self._tables.fills + "_rejected" in self._schema.others_missing:
            return None
        found = Claims(*self._rows("reconcile/claims")[0])
        return found if found.items else None

    def latest_run(self) -> LatestRun | None:
        """Give the latest run of sync, None if there never was one."""
        if self._tables.fills + "_runs" in self._schema.others_missing:
            return None
        found = self._rows("reconcile/latest_run")
        return LatestRun(*found[0]) if found else None

    def last_finished(self) -> FinishedRun | None:
        """Give the entry whose watermark counts, None if there is none."""
        if self._tables.fills + "_runs" in self._schema.others_missing:
            return None
        found = self._rows("sync/last_run")
        return FinishedRun(found[0][1], found[0][2]) if found else None

    def read_until(self, now: datetime) -> datetime | None:
        """Return the time from which on a fill may still be on its way; None if there is none.

        That is the end of the latest window among the syncs that ended within `SYNC_SILENT`. Where
        the exchange called its data complete only up to a little before that end, which is where
        the watermark then is, what came later is the next sync's as well.
        """
        if self._tables.fills + "_runs" in self._schema.others_missing:
            return None
        found = self._rows("reconcile/read_until", lately=now - SYNC_SILENT)
        if not found:
            return None
        read = ReadUntil(*found[0])
        if read.watermark is not None:
            behind = read.window_end - read.watermark
            if timedelta(0) <= behind <= _LAG_OF_WATERMARK + timedelta(seconds=1):
                return read.watermark
        return read.window_end

    def equal_versions(self, rows: int) -> EqualVersions:
        """Count the fills whose content is undefined: rows of equal version differ.

        Args:
            rows: the rows under FINAL.
        """
        if int(self._rows("reconcile/physical_rows")[0][0]) <= rows:
            return EqualVersions(0, None)
        fills, oldest = self._rows("reconcile/equal_versions")[0]
        return EqualVersions(int(fills), oldest if fills else None)

    def writers(self, keys: Sequence[FillKey]) -> dict[FillKey, Writer]:
        """Return who wrote the rows of these fills; those without any row are left out."""
        found: dict[FillKey, Writer] = {}
        for first in range(0, len(keys), _LOOKED_UP_AT_ONCE):
            wanted = TextTable(("fill_id", "order_id"), keys[first:][:_LOOKED_UP_AT_ONCE])
            for fill_id, order_id, *facts in self._rows("reconcile/writers", wanted):
                found[FillKey(fill_id, order_id)] = Writer(*map(bool, facts))
        return found

    def order_sums(self, order_ids: Sequence[str]) -> dict[str, OrderSums]:
        """Add up the fills of these orders; those without any are left out."""
        wanted = TextTable(("order_id",), [(order_id,) for order_id in order_ids])
        found = self._rows("reconcile/order_sums", wanted)
        return {
            order_id: OrderSums(contracts, None if unknown else fees)
            for order_id, contracts, fees, unknown in found
        }

    def position_sums(self, tickers: Sequence[str]) -> dict[str, dict[int | None, Decimal]]:
        """Add up the fills of these markets by subaccount, yes contracts positive."""
        wanted = TextTable(("ticker",), [(ticker,) for ticker in tickers])
        sums: dict[str, dict[int | None, Decimal]] = {}
        for ticker, subaccount, contracts in self._rows("reconcile/position_sums", wanted):
            sums.setdefault(ticker, {})[subaccount] = contracts
        return sums

    def subaccounts(self) -> list[int]:
        """Give the subaccounts that the table knows, and the primary one."""
        return sorted({0, *(int(row[0]) for row in self._rows("reconcile/subaccounts"))})

    def fills_of_order(self, order_id: str) -> list[tuple[FillKey, Content]]:
        """Return identity and content of every fill of an order, of any age."""
        found = self._rows("reconcile/fills_of_orders", TextTable(("order_id",), [(order_id,)]))
        return [(FillKey(row[0], row[1]), Content._make(row[3])) for row in found]

    def fills_of_market(self, ticker: str) -> list[tuple[FillKey, Content]]:
        """Give identity and content of every fill of a market."""
        found = self._warehouse.rows(
            self._tables.sql("reconcile/fills_of_market"), {"ticker": ticker}
        )
        return [(FillKey(row[0], row[1]), Content._make(row[3])) for row in found]

    def _rows(self, name: str, wanted: TextTable | None = None, **more: datetime) -> list[Row]:
        statement = self._tables.sql(name, final=self._schema.replaces)
        known = {**self._bounds, **more}
        bound = {key: value for key, value in known.items() if f"{{{key}:" in statement}
        return self._warehouse.rows(statement, bound or None, wanted=wanted)


@dataclass(slots=True)
class Survey:
    """Everything looked up in the tables, once."""

    evidence: Evidence
    schema: Schema
    queries: list[QueryResult] = field(default_factory=list)
    profile: list[Profile] = field(default_factory=list)
    repeats: Repeats = _NO_REPEATS
    event_times: EventTimes = _NO_TIMES
    regularity: cadence.Regularity | None = None
    claims: Claims | None = None
    latest_run: LatestRun | None = None
    finished: FinishedRun | None = None
    equal_versions: EqualVersions = _NO_EQUAL_VERSIONS

    def pending_from(self, now: datetime) -> datetime | None:
        """Return the time from which on a fill may still be on its way; None if there is none.

        Where the latest sync failed nothing is on its way.
        """
        if not self.is_today or (self.latest_run and self.latest_run.status == "failed"):
            return None
        return self.evidence.read_until(now)

    @property
    def is_today(self) -> bool:
        """Whether all tables are of today's schema."""
        return self.schema.exists and not self.schema.problems and not self.schema.others_missing

    @property
    def rows(self) -> int:
        """Rows of the whole table."""
        return sum(part.rows for part in self.profile)

    def answer(self, name: str) -> QueryResult:
        """Give the answer of one diagnostic query."""
        return next(query for query in self.queries if query.name == name)

    def garbage(self, *where: str) -> int:
        """Rows outside the gates on these sides of the window."""
        return sum(
            max(part.price_outside, part.no_quantity)
            for part in self.profile
            if part.against_window in where
        )


def survey(evidence: Evidence, schema: Schema) -> Survey:
    """Look everything up; of a table that is not there, nothing.

    Raises:
        WarehouseError: the tables could not be read.
    """
    table = Survey(evidence, schema)
    table.queries = [evidence.query(name) for name in query_names()]
    if not schema.exists:
        return table
    table.profile = evidence.profile(table.answer("new_against_old"))
    without_id = sum(part.without_fill_id for part in table.profile)
    table.repeats = evidence.repeats(look_into_payloads=without_id > 0)
    if any(not part.by_sync for part in table.profile):
        table.event_times = evidence.event_times()
    per_minute = table.answer("volume_per_minute").rows
    table.regularity = cadence.regularity({row[0]: int(row[1]) for row in per_minute})
    table.claims = evidence.claims()
    table.latest_run = evidence.latest_run()
    table.finished = evidence.last_finished()
    if table.is_today:
        table.equal_versions = evidence.equal_versions(table.rows)
    return table


def query_names() -> list[str]:
    """List the diagnostic queries."""
    return [name.removeprefix(f"{_FOLDER}/") for name in names(_FOLDER)]
