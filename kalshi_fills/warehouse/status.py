"""How the syncs of a table stand, from the tool's own tables alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from kalshi_fills.warehouse.client import in_utc, select_one
from kalshi_fills.warehouse.schema import require_today

if TYPE_CHECKING:
    from kalshi_fills.warehouse.client import Warehouse
    from kalshi_fills.warehouse.statements import Tables

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Failure(NamedTuple):
    """How a sync failed."""

    at: datetime
    error: str


class Status(NamedTuple):
    """What the tool's own tables say of its syncs."""

    last_success: datetime | None
    """When the latest finished sync ended."""
    watermark: datetime | None
    last_failure: Failure | None
    """Of any age; there may be successes after it."""
    claims: int
    """Refused items that claim to be fills and were not accepted."""
    open_breaks: int
    """Breaks that the latest sync left open."""
    open_breaks_listed: str
    """The same as the ledger keeps them."""
    settled_markets_differing: int = 0
    """Settled markets whose fills do not add up to what the exchange settled."""

    def is_open(self) -> bool:
        """Return whether the operator has to do something, whenever the last sync was."""
        return bool(self.claims or self.open_breaks or self.settled_markets_differing)

    def is_late(self, now: datetime, max_age: timedelta) -> bool:
        """Return whether no sync has succeeded for longer than that."""
        return self.last_success is None or now - self.last_success > max_age


class _Runs(NamedTuple):
    successes: int
    succeeded_at: datetime
    watermark_at: datetime
    failures: int
    failed_at: datetime
    failed_because: str
    last_open_breaks: int
    last_open_breaks_listed: str


class _Claims(NamedTuple):
    claims: int


def read_status(warehouse: Warehouse, tables: Tables) -> Status:
    """Return how the syncs of a table stand.

    Raises:
        SchemaError: the tables are not today's.
        WarehouseError: they could not be read.
    """
    require_today(warehouse, tables)
    runs = select_one(warehouse, _Runs, tables.sql("status/runs"))
    claims = select_one(warehouse, _Claims, tables.sql("status/claims"))
    assert runs is not None, "an aggregate without GROUP BY has one row"
    assert claims is not None, "an aggregate without GROUP BY has one row"
    watermark = in_utc(runs.watermark_at)
    return Status(
        in_utc(runs.succeeded_at) if runs.successes else None,
        watermark if watermark > _EPOCH else None,
        Failure(in_utc(runs.failed_at), runs.failed_because) if runs.failures else None,
        claims.claims,
        runs.last_open_breaks,
        runs.last_open_breaks_listed,
    )
