"""The ledger of runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from kalshi_fills.pipeline.content import Difference
from kalshi_fills.pipeline.fills import Fill
from kalshi_fills.pipeline.stages import Counts
from kalshi_fills.warehouse.client import Warehouse
from kalshi_fills.warehouse.statements import Tables

_MAX_LISTED_CORRECTIONS: Final = 100

LATER_COLUMNS: Final = (
    "environment",
    "key_digest",
    "table_identity",
    "fills_held",
    "open_breaks",
    "open_breaks_listed",
    "notes",
)
"""Columns of the ledger that an earlier version did not have."""


@dataclass(slots=True)
class Corrections:
    """Which fields of stored rows the exchange corrected, and the first of them in full."""

    by_field: dict[str, int] = field(default_factory=dict)
    listed: list[dict[str, str]] = field(default_factory=list)

    def add(self, fill: Fill, found: Iterable[Difference]) -> None:
        """Note one corrected fill."""
        for difference in found:
            name = difference.field
            self.by_field[name] = self.by_field.get(name, 0) + 1
            if len(self.listed) < _MAX_LISTED_CORRECTIONS:
                self.listed.append(
                    {
                        "fill_id": fill.fill_id,
                        "order_id": fill.order_id,
                        "field": name,
                        "table": difference.stored,
                        "exchange": difference.reported,
                    }
                )

    def as_json(self) -> str:
        """Give them as the run ledger keeps them, empty if there are none."""
        if not self.by_field:
            return ""
        return json.dumps({"by_field": self.by_field, "first": self.listed}, sort_keys=True)


class Run(NamedTuple):
    """One row of the run ledger."""

    run_id: UUID
    status: str
    started_at: datetime
    finished_at: datetime | None
    window_start: datetime | None
    window_end: datetime
    watermark: datetime | None
    counts: Counts
    host: str
    pid: int
    error: str = ""
    corrections: str = ""
    environment: str = ""
    key_digest: str = ""
    """Empty in the entries of truncate and migrate, which are runs of no key."""
    table_identity: str = ""
    """Of the fills table; empty where it is not known, or about to change."""
    fills_held: int = 0
    """Fills that the table held at least."""
    open_breaks: int = 0
    open_breaks_listed: str = ""
    notes: Sequence[str] = ()


class Unfinished(NamedTuple):
    """A run that the ledger still calls running."""

    run_id: UUID
    host: str
    pid: int
    started_at: datetime
    window_start: datetime | None
    window_end: datetime
    recorded_at: datetime


def ledger_has_columns(warehouse: Warehouse, tables: Tables) -> bool:
    """Return whether there is a ledger of runs with every column of this version."""
    found = warehouse.rows(
        tables.sql("schema/columns"),
        {"database": tables.database, "table": tables.fills + "_runs"},
    )
    return set(LATER_COLUMNS) <= {str(row[0]) for row in found}


def last_environment(warehouse: Warehouse, tables: Tables) -> str:
    """Return the environment of the table's last finished run; empty where none recorded it."""
    if not ledger_has_columns(warehouse, tables):
        return ""
    found = warehouse.rows(tables.sql("sync/last_environment"))
    return str(found[0][0]) if found else ""
