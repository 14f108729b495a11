"""What was traded and earned day by day: for the report's page, not for the verdict."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from kalshi_fills.warehouse.client import select

if TYPE_CHECKING:
    from kalshi_fills.warehouse.client import Warehouse
    from kalshi_fills.warehouse.statements import Tables


class TradingDay(NamedTuple):
    """One day (UTC) of all subaccounts."""

    day: date
    contracts: Decimal
    maker_share: Decimal | None
    """None where a fill does not say its role, or nothing was traded."""
    cash: Decimal | None
    """What fills and settlements of the day moved; None where a fee is not known."""
    settled_markets: int
    pnl: Decimal | None
    """Of the markets that were settled on the day; None where a fee is not known."""


def trading_days(warehouse: Warehouse, tables: Tables) -> list[TradingDay]:
    """Return each day on which there was anything, the oldest first.

    Raises:
        WarehouseError: the tables could not be read.
    """
    return select(warehouse, TradingDay, tables.sql("examples/cash_by_day"))
