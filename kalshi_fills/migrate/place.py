"""Where a migration works; every other module of this folder is passed it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from kalshi_fills.warehouse.client import Warehouse
from kalshi_fills.warehouse.statements import Tables


class Place(NamedTuple):
    """Where a migration works, and when it began."""

    warehouse: Warehouse
    tables: Tables
    now: datetime

    @property
    def stamp(self) -> str:
        """When it began, as it stands in the name of a table that is kept aside."""
        return f"{self.now:%Y%m%dT%H%M%SZ}"

    def run(self, name: str, suffixes: Mapping[str, str] | None = None) -> None:
        """Run one of the SQL files."""
        self.warehouse.command(self.tables.sql(name, suffixes=suffixes))
