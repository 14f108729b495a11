"""What the fills table holds: looked up by fill or by time, or summed by hour."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from kalshi_fills.errors import WarehouseError
from kalshi_fills.pipeline.fills import CONTENT_FIELDS, Content, FillKey
from kalshi_fills.pipeline.seen import HourDigest
from kalshi_fills.warehouse.client import (
    TextTable,
    Value,
    Warehouse,
    in_utc,
    lines,
    select,
    select_one,
)
from kalshi_fills.warehouse.declared import DeclaredColumn
from kalshi_fills.warehouse.statements import Tables

if TYPE_CHECKING:
    from kalshi_fills.pipeline.batch import Batch

FILL_COLUMNS: Final = (
    *CONTENT_FIELDS,
    "id_synthetic",
    "source",
    "run_id",
    "content_hash",
    "raw_json",
    "version",
    "client_order_id",
    "engine_instance_id",
    "engine_version",
    "decision_id",
)
"""The columns the tool writes, in order; the table fills in the engines' own from these."""


_DERIVED_COLUMNS: Final = ("price", "fee")
"""Columns of the engines that the table makes of the others."""


_INCOMPARABLE: Final = re.compile(r"AggregateFunction|JSON|Object|Dynamic|Variant")
"""Types whose values the engine may not be able to compare."""


class Stored(NamedTuple):
    """Everything the table holds of one fill."""

    contents: tuple[Content, ...]
    """The contents of its rows of the highest version, the one that knows most first."""
    version: int
    tickers: list[str]
    """Every ticker it stands under; more than one is a stale row."""
    undefined: bool
    """Rows of the highest version differ in something: which of them FINAL shows is chance."""
    unfinished: bool
    """A correction of its ticker was cut short."""
    links_lost: bool
    """The row that counts lacks a link that a row it replaced has."""

    @property
    def content(self) -> Content:
        """The content that counts; where that is undefined, the one that knows most."""
        return self.contents[0]


class Known(NamedTuple):
    """What the table holds of one fill, in short."""

    digest: int
    version: int
    care: bool
    """It needs a closer look, although its content may be right."""


class _Key(NamedTuple):
    fill_id: str
    exchange_order_id: str


class _PayloadRow(NamedTuple):
    fill_id: str
    exchange_order_id: str
    payload: str


class _Row(NamedTuple):
    content: Sequence[str]


class _HourRow(NamedTuple):
    hour: datetime
    fills: int
    digest_sum: int


class _DigestRow(NamedTuple):
    fill_id: str
    exchange_order_id: str
    digest: int
    top_version: int
    care: bool


class _StoredRow(NamedTuple):
    fill_id: str
    exchange_order_id: str
    contents: Sequence[Sequence[str]]
    top_version: int
    tickers: Sequence[str]
    undefined: bool
    unfinished: bool
    links_lost: bool


class _One(NamedTuple):
    one: int


_FIRST_TIME: Final = datetime(1900, 1, 1, tzinfo=UTC)
"""The earliest time that the table can hold."""

_MANY_FILLS: Final = 100_000
"""From so many on in a window it is worth finding out whether rows replace others at all."""

_DISTINCT_ROWS: Final = 2_000_000
"""In how many rows at most those are looked for that replace another; each takes some 16 bytes."""


class StoredFills:
    """The fills table as it is read."""

    def __init__(self, warehouse: Warehouse, tables: Tables) -> None:
        self._warehouse = warehouse
        self._tables = tables
        self._own: dict[str, str] | None = None
        self._sees_every_row = False

    def is_empty(self) -> bool:
        """Return whether the table has no row."""
        self.require_every_row()
        statement = self._tables.sql("sync/has_fills", suffixes={"": ""})
        return select_one(self._warehouse, _One, statement) is None

    def hours(
        self, start: datetime | None, end: datetime, fills: int = 0
    ) -> dict[datetime, HourDigest]:
        """Return count and digest of the stored fills of a window, by hour.

        Args:
            start: the window's; None for all there is before the end.
            end: the window's.
            fills: how many are to be expected in it, at least.

        Raises:
            WarehouseError: the table could not be read, or a row policy hides rows of it.
        """
        self.require_every_row()
        if start is None or fills >= _MANY_FILLS:
            bounds = {"start": start or _FIRST_TIME, "end": end, "most_rows": _DISTINCT_ROWS}
            if quickly := self._hours("sync/digests_per_hour_of_distinct", bounds):
                return quickly
        if start is None:
            return self._hours("sync/digests_per_hour_of_all", {"end": end})
        return self._hours("sync/digests_per_hour", {"start": start, "end": end})

    def _hours(self, name: str, params: Mapping[str, Value]) -> dict[datetime, HourDigest]:
        found = select(self._warehouse, _HourRow, self._tables.sql(name), params)
        return {in_utc(row.hour): HourDigest(row.fills, row.digest_sum) for row in found}

    def rows_between(self, start: datetime, end: datetime) -> list[Content]:
        """Return the contents of the stored fills of a range.

        A fill of which it is undefined what FINAL shows comes with each content it may be.
        """
        params = {"start": start, "end": end}
        statement = self._tables.sql("sync/fills_between")
        return read_contents(self._warehouse, statement, params)

    def keys_of(self, fill_ids: Sequence[str], since: datetime) -> list[FillKey]:
        """Return the stored fills with one of these ids, of a time from which on to look."""
        wanted = TextTable(("fill_id",), [(fill_id,) for fill_id in fill_ids])
        statement = self._tables.sql("sync/keys_of_ids")
        found = select(self._warehouse, _Key, statement, {"since": since}, wanted=wanted)
        return [FillKey(row.fill_id, row.exchange_order_id) for row in found]

    def payloads(self, keys: Iterable[FillKey]) -> list[str]:
        """Return the payloads of the rows that count of these fills."""
        wanted = _wanted(keys)
        if not wanted.rows:
            return []
        statement = self._tables.sql("sync/stored_payloads")
        return [
            row.payload for row in select(self._warehouse, _PayloadRow, statement, wanted=wanted)
        ]

    def digests(self, batch: Batch, everywhere: bool = False) -> dict[FillKey, Known]:
        """Return what the table holds of these fills, in short; those it lacks are left out.

        They are looked up by the sort key, and by order id what it does not find, or all.
        """
        keys = list(map(FillKey, batch.fill_id, batch.exchange_order_id))
        if everywhere:
            return self._known("sync/stored_digests", _wanted(keys))
        rows = list(zip(batch.market_ticker, batch.fill_id, batch.exchange_order_id, strict=True))
        found = self._known(
            "sync/stored_digests_by_key", TextTable(("market_ticker", "fill_id", "order_id"), rows)
        )
        left = [key for key in keys if key not in found]
        return found | self._known("sync/stored_digests", _wanted(left)) if left else found

    def _known(self, statement: str, wanted: TextTable) -> dict[FillKey, Known]:
        found = select(self._warehouse, _DigestRow, self._tables.sql(statement), wanted=wanted)
        return {
            FillKey(row.fill_id, row.exchange_order_id): Known(
                row.digest, row.top_version, bool(row.care)
            )
            for row in found
        }

    def read_rows(self, keys: Iterable[FillKey]) -> dict[FillKey, Stored]:
        """Return everything the table holds of these fills; those it lacks are left out."""
        wanted = _wanted(keys)
        if not wanted.rows:
            return {}
        comparable = [
            name for name, type_ in self.own_columns().items() if not _INCOMPARABLE.search(type_)
        ]
        statement = self._tables.sql("sync/stored_fills", comparable_columns=comparable)
        return {
            FillKey(row.fill_id, row.exchange_order_id): Stored(
                tuple(sorted(map(Content._make, row.contents), key=_knowledge, reverse=True)),
                row.top_version,
                sorted(row.tickers),
                bool(row.undefined),
                bool(row.unfinished),
                bool(row.links_lost),
            )
            for row in select(self._warehouse, _StoredRow, statement, wanted=wanted)
        }

    def own_columns(self) -> dict[str, str]:
        """Return the columns that a sync does not write but a correction keeps, with their types.

        They are the operator's own, as far as they hold values, and those of later migrations.
        """
        if self._own is None:
            ours = {*FILL_COLUMNS, *_DERIVED_COLUMNS}
            place = {"database": self._tables.database, "table": self._tables.fills}
            statement = self._tables.sql("schema/columns")
            self._own = {
                column.name: column.type
                for column in select(self._warehouse, DeclaredColumn, statement, place)
                if column.name not in ours and column.default_kind in ("", "DEFAULT")
            }
        return self._own

    def require_every_row(self) -> None:
        """Raise if a row policy hides rows of the table from this user.

        Raises:
            WarehouseError: one does; nothing could be proven of such a table.
        """
        if self._sees_every_row:
            return
        plan = lines(self._warehouse, self._tables.sql("sync/rows_filtered"))
        if any("filter column" in step.lower() for step in plan):
            raise WarehouseError(
                f"a row policy hides rows of {self._tables.database}.{self._tables.fills} from "
                "this ClickHouse user, so that nothing can be proven of it",
                hint="as an administrator add a row policy `USING 1` for this user, or give "
                "another user in CLICKHOUSE_URL",
            )
        self._sees_every_row = True


def read_contents(
    warehouse: Warehouse,
    statement: str,
    params: Mapping[str, Value] | None = None,
    wanted: TextTable | None = None,
) -> list[Content]:
    """Return the contents that a statement selects as its only column."""
    return [
        Content._make(row.content)
        for row in select(warehouse, _Row, statement, params, wanted=wanted)
    ]


def _knowledge(texts: Content) -> tuple[int, Content]:
    return sum(map(bool, texts)), texts


def _wanted(keys: Iterable[FillKey]) -> TextTable:
    return TextTable(("fill_id", "order_id"), list(keys))
