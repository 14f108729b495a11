"""What a comparison of exchange and table found, filled in leg by leg."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from kalshi_fills.pipeline.fills import EARLIEST_FILL, Fill
from kalshi_fills.reconcile.attribution import Attribution
from kalshi_fills.reconcile.breaks import MAX_BREAKS, Break
from kalshi_fills.reconcile.settled import SettledMarkets

if TYPE_CHECKING:
    from kalshi_fills.pipeline.batch import Batch
    from kalshi_fills.pipeline.window import Window

LARGE_LAG: Final = timedelta(hours=1)
"""A window cut short by more than this, or data older than this, deserve a word."""


@dataclass(slots=True)
class Compared:
    """What was compared with the exchange, and agrees."""

    fills: int = 0
    """Fills of the exchange that were compared with the table, one by one."""
    contracts: Decimal = Decimal(0)
    fees_dollars: Decimal = Decimal(0)
    """Of those fills whose fee the exchange knows."""
    orders: int = 0
    """Orders whose contracts and fees are those of all their fills in the table."""
    positions: int = 0
    """Positions that are what all fills in the table add up to."""
    settled_markets: int = 0
    """Settled markets whose totals are what all fills in the table add up to."""

    def add_all(self, batch: Batch) -> None:
        """Count fills in."""
        self.fills += len(batch)
        self.contracts += _sum(batch.size, decimals=2)
        self.fees_dollars += _sum(batch.fee_dollars, decimals=6)

    def remove(self, fill: Fill) -> None:
        """Take a fill out that was counted in."""
        self.fills -= 1
        self.contracts -= Decimal(fill.content.size)
        self.fees_dollars -= Decimal(fill.content.fee_dollars or 0)

    def as_dict(self) -> dict[str, int | str]:
        """Return what was compared by name, money as canonical text."""
        return {
            "fills": self.fills,
            "contracts": f"{self.contracts:.2f}",
            "fees_dollars": f"{self.fees_dollars:.6f}",
            "orders": self.orders,
            "positions": self.positions,
            "settled_markets": self.settled_markets,
        }


def _sum(column: Sequence[str], decimals: int) -> Decimal:
    """Return the sum of numbers that all have so many decimals; empty texts count as 0."""
    units = sum(map(int, " ".join(column).replace(".", "").split()))
    return Decimal(units).scaleb(-decimals)


@dataclass(slots=True)
class Reconciliation:
    """What the comparison with the exchange found."""

    compared: Window
    asked: Window
    """The window that was asked for, as far as it has passed."""
    complete_until: datetime
    """Up to when the exchange calls its data complete."""
    proven: Compared = field(default_factory=Compared)
    not_compared: str = ""
    """Why nothing could be compared; empty where something was."""
    blind: list[str] = field(default_factory=list)
    """What else could not be compared, a sentence each."""
    exchange_fills: int = 0
    table_rows: int = 0
    pending: int = 0
    """Fills that the table lacks and need not have yet: no finished sync has read that far."""
    pending_orders: int = 0
    """Orders that differ by what may still come."""
    hidden: int = 0
    """Rows of subaccounts that the key does not see."""
    restricted: bool = False
    """The key sees one subaccount only."""
    claims: int = 0
    """Items that the exchange sends now, that claim to be fills and were not accepted."""
    breaks: list[Break] = field(default_factory=list)
    more_breaks: bool = False
    notes: list[str] = field(default_factory=list)
    hours: dict[datetime, int] = field(default_factory=dict)
    """The exchange's fills by hour."""
    by_writer: Attribution = field(default_factory=Attribution)
    """Who wrote the rows of the breaks."""
    settled: SettledMarkets = field(default_factory=SettledMarkets)
    """The markets that were settled in the window, against all fills in the table."""
    differs_since: datetime | None = None
    """No fill older than this is known to differ; None if none does."""

    @property
    def cut_short_by(self) -> timedelta:
        """How much of the window that was asked for was not compared."""
        at_the_start = timedelta(0)
        if self.compared.start is not None:
            at_the_start = self.compared.start - (self.asked.start or EARLIEST_FILL)
        return at_the_start + max(self.asked.end - self.compared.end, timedelta(0))

    @property
    def every_fill_agrees(self) -> bool:
        """Return whether each fill of the window was compared and found right, with none hidden."""
        return not (
            self.not_compared
            or self.of("fill")
            or self.more_breaks
            or self.restricted
            or self.cut_short_by > LARGE_LAG
        ) and bool(self.proven.fills)

    def note_difference(self, moment: datetime | None) -> None:
        """Note when a fill was traded that differs."""
        if moment is not None:
            self.differs_since = min(moment, self.differs_since or moment)

    def of(self, scope: str, kind: str = "") -> list[Break]:
        """Return the breaks of one scope, of one kind or any."""
        return [one for one in self.breaks if one.scope == scope and kind in ("", one.kind)]

    def has_room(self) -> bool:
        """Return whether one more break can be listed; if not, note that there are more."""
        self.more_breaks = self.more_breaks or len(self.breaks) >= MAX_BREAKS
        return len(self.breaks) < MAX_BREAKS

    def add(self, breaks: list[Break]) -> None:
        """Add breaks, as far as they can be listed."""
        room = MAX_BREAKS - len(self.breaks)
        self.more_breaks = self.more_breaks or len(breaks) > room
        self.breaks += breaks[:room]

    def not_listed_yet(self, breaks: Iterable[Break]) -> list[Break]:
        """Return those breaks of which another leg has not listed the fill."""
        listed = {(one.fill_id, one.order_id) for one in self.of("fill")}
        return [
            one
            for one in breaks
            if one.scope != "fill" or (one.fill_id, one.order_id) not in listed
        ]
