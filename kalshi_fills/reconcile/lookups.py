"""What a comparison looks up in the table: sums of orders and positions, fills, writers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from kalshi_fills.pipeline.fills import EARLIEST_FILL, Content, FillKey
from kalshi_fills.reconcile.attribution import Writer
from kalshi_fills.reconcile.totals import SettledRow, SettledSums
from kalshi_fills.warehouse.client import TextTable, Warehouse, in_utc, select, select_one
from kalshi_fills.warehouse.stored import read_contents

if TYPE_CHECKING:
    from kalshi_fills.pipeline.window import Window
    from kalshi_fills.warehouse.statements import Tables

_LOOKED_UP_AT_ONCE: Final = 1_000


class OrderSums(NamedTuple):
    """What the table's fills of one order add up to."""

    contracts: Decimal
    fees_dollars: Decimal | None
    """None where a fee is not known."""


class OrderRows(NamedTuple):
    """How many rows of an order the table has in the window."""

    exchange_order_id: str
    market: str
    row_count: int


class OrderOfFills(NamedTuple):
    """An order that fills of the window belong to."""

    exchange_order_id: str
    market: str


class _OrderSum(NamedTuple):
    exchange_order_id: str
    contracts: Decimal
    fees_dollars: Decimal
    fees_unknown: int


class _PositionSum(NamedTuple):
    market_ticker: str
    subaccount_number: int | None
    contracts: Decimal


class _Subaccount(NamedTuple):
    subaccount_number: int


class StoredAgainstFills(NamedTuple):
    """How the stored settlements compare with all fills of their markets."""

    markets: int = 0
    differing: int = 0
    tickers: Sequence[str] = ()
    """The markets that differ, 10,001 at most."""
    costs_differ: int = 0
    of_costs: str = ""
    """One of the markets that agree but for their costs."""
    revenues_differ: int = 0
    of_revenues: str = ""
    """One of the markets that agree but for their revenue."""


class _SettledSums(NamedTuple):
    market_ticker: str
    subaccount_number: int | None
    fills: int
    first_fill: datetime
    yes_contracts: Decimal
    no_contracts: Decimal
    yes_cost_dollars: Decimal
    no_cost_dollars: Decimal
    fees_dollars: Decimal
    fees_unknown: int


class TableLookups:
    """The fills table, as a comparison of one window reads it."""

    def __init__(
        self, warehouse: Warehouse, tables: Tables, window: Window, *, replaces: bool
    ) -> None:
        """Remember where to look.

        Args:
            warehouse: where the table is.
            tables: its names.
            window: the range that is compared.
            replaces: the table's engine replaces rows, so that it is read under FINAL.
        """
        self._warehouse = warehouse
        self._tables = tables
        self._replaces = replaces
        self._bounds = {"start": window.start or EARLIEST_FILL, "end": window.end}

    def rows_of_orders(self) -> dict[str, OrderRows]:
        """Return how many rows each order has in the window, for a million orders at most."""
        found = select(
            self._warehouse, OrderRows, self._sql("reconcile/rows_of_orders"), self._bounds
        )
        return {one.exchange_order_id: one for one in found}

    def orders_of_window(self) -> list[OrderOfFills]:
        """Return the orders of the window's fills, the oldest first, 5,000 at most."""
        return select(
            self._warehouse, OrderOfFills, self._sql("reconcile/orders_of_window"), self._bounds
        )

    def writers(self, keys: Sequence[FillKey]) -> dict[FillKey, Writer]:
        """Return who wrote the rows of these fills; those without any row are left out."""
        found: dict[FillKey, Writer] = {}
        for first in range(0, len(keys), _LOOKED_UP_AT_ONCE):
            wanted = TextTable(("fill_id", "order_id"), keys[first:][:_LOOKED_UP_AT_ONCE])
            for one in select(
                self._warehouse, Writer, self._sql("reconcile/writers"), wanted=wanted
            ):
                found[FillKey(one.fill_id, one.exchange_order_id)] = one
        return found

    def order_sums(self, tickers: Mapping[str, str]) -> dict[str, OrderSums]:
        """Return what the fills of orders add up to; those without any are left out.

        Args:
            tickers: of each order, by its id; rows under another ticker are not counted.
        """
        wanted = TextTable(("order_id", "ticker"), list(tickers.items()))
        found = select(self._warehouse, _OrderSum, self._sql("reconcile/order_sums"), wanted=wanted)
        return {
            one.exchange_order_id: OrderSums(
                one.contracts, None if one.fees_unknown else one.fees_dollars
            )
            for one in found
        }

    def position_sums(self, tickers: Sequence[str]) -> dict[str, dict[int | None, Decimal]]:
        """Return what the fills of these markets add up to by subaccount, in yes contracts."""
        wanted = TextTable(("ticker",), [(ticker,) for ticker in tickers])
        sums: dict[str, dict[int | None, Decimal]] = {}
        for one in select(
            self._warehouse, _PositionSum, self._sql("reconcile/position_sums"), wanted=wanted
        ):
            sums.setdefault(one.market_ticker, {})[one.subaccount_number] = one.contracts
        return sums

    def subaccounts(self) -> list[int]:
        """Return the subaccounts that the table knows, and the primary one."""
        found = select(self._warehouse, _Subaccount, self._sql("reconcile/subaccounts"))
        return sorted({0, *(int(one.subaccount_number) for one in found)})

    def stored_settlements(self, window: Window) -> StoredAgainstFills:
        """Return how the settlements that are stored compare with all fills of their markets.

        Args:
            window: the markets that were settled in it.
        """
        bounds = {"start": window.start or EARLIEST_FILL, "end": window.end}
        sql = self._sql("reconcile/settled_markets")
        found = select_one(self._warehouse, StoredAgainstFills, sql, bounds)
        return found or StoredAgainstFills()

    def settlements_of(self, tickers: Sequence[str]) -> dict[str, dict[int, SettledRow]]:
        """Return the stored settlements of these markets, by subaccount."""
        wanted = TextTable(("ticker",), [(ticker,) for ticker in tickers])
        rows: dict[str, dict[int, SettledRow]] = {}
        for one in select(
            self._warehouse,
            SettledRow,
            self._sql("reconcile/settlements_of_markets"),
            wanted=wanted,
        ):
            row = one._replace(settled_at=in_utc(one.settled_at))
            rows.setdefault(one.market_ticker, {})[one.subaccount_number] = row
        return rows

    def settled_sums(self, tickers: Sequence[str]) -> dict[str, dict[int | None, SettledSums]]:
        """Return what all fills of these markets add up to, by subaccount."""
        wanted = TextTable(("ticker",), [(ticker,) for ticker in tickers])
        sums: dict[str, dict[int | None, SettledSums]] = {}
        for one in select(
            self._warehouse, _SettledSums, self._sql("reconcile/settled_sums"), wanted=wanted
        ):
            found = SettledSums(*one[2:])._replace(first_fill=in_utc(one.first_fill))
            sums.setdefault(one.market_ticker, {})[one.subaccount_number] = found
        return sums

    def fills_of_order(self, order_id: str) -> list[Content]:
        """Return every row of an order, of any age."""
        wanted = TextTable(("order_id",), [(order_id,)])
        return read_contents(self._warehouse, self._sql("reconcile/fills_of_orders"), wanted=wanted)

    def fills_of_market(self, ticker: str) -> list[Content]:
        """Return every row of a market."""
        statement = self._sql("reconcile/fills_of_market")
        return read_contents(self._warehouse, statement, {"ticker": ticker})

    def _sql(self, name: str) -> str:
        return self._tables.sql(name, final=self._replaces)
