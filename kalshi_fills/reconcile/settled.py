"""Settled markets: the totals of a settlement, the sums of the table, and how they agree.

A settlement states the totals of all fills that a market ever had: contracts of yes, contracts of
no, fees. The exchange lists one for each subaccount; what a row says is never counted twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from kalshi_fills.pipeline.fills import Content, FillKey
from kalshi_fills.reconcile.breaks import Break
from kalshi_fills.reconcile.totals import NO_CONTRACTS, SettledRow, SettledSums, Totals, total

_MILLIONTH: Final = Decimal("0.000001")

_CENT: Final = Decimal("0.01")


class SettledMarket(NamedTuple):
    """One settled market on both sides, by subaccount."""

    ticker: str
    rows: Mapping[int, SettledRow]
    """What the exchange settled."""
    sums: Mapping[int | None, SettledSums]
    """What the table holds; None where a fill does not say its subaccount."""

    @property
    def settled_at(self) -> datetime:
        """When it was settled, for the last of its subaccounts."""
        return max(row.settled_at for row in self.rows.values())

    @property
    def first_fill(self) -> datetime | None:
        """The time of the oldest fill in the table; None if there is none."""
        return min((one.first_fill for one in self.sums.values()), default=None)

    @property
    def fills(self) -> int:
        """How many fills the table has of it."""
        return sum(one.fills for one in self.sums.values())

    @property
    def is_listed_for_each(self) -> bool:
        """Return whether its one row was listed for several subaccounts.

        These rows are all the same, and each is all that the table holds: of rows that are each
        subaccount's own, all together are.
        """
        listed = {row.totals for row in self.rows.values()}
        if len(self.rows) < 2 or len(listed) > 1:
            return False
        (same,) = listed
        has_contracts = bool(same.yes or same.no)
        return has_contracts and same.agrees(total(one.totals for one in self.sums.values()))

    @property
    def exchange(self) -> Totals:
        """What the exchange settled, over all subaccounts."""
        if self.is_listed_for_each:
            return next(iter(self.rows.values())).totals
        return total(row.totals for row in self.rows.values())

    @property
    def table(self) -> Totals:
        """What the fills add up to: of all subaccounts, or of those that have a settlement.

        A subaccount without one is unknown, not wrong.
        """
        everything = total(one.totals for one in self.sums.values())
        if None in self.sums or self.exchange.agrees(everything):
            return everything
        of_rows = total(one.totals for number, one in self.sums.items() if number in self.rows)
        return of_rows if self.exchange.agrees(of_rows) else everything

    @property
    def agrees(self) -> bool:
        """Return whether contracts and fees are the same on both sides."""
        return self.table.agrees(self.exchange)

    @property
    def is_moved(self) -> bool:
        """Return whether only all subaccounts together agree: contracts moved between them."""
        if None in self.sums or not self.agrees or len(self.rows) < 2:
            return False
        if len({row.totals for row in self.rows.values()}) == 1:
            return False
        none = Totals()
        return not all(
            row.totals.agrees(self.sums[number].totals if number in self.sums else none)
            for number, row in self.rows.items()
        )

    @property
    def costs_differ(self) -> bool:
        """Return whether costs differ by more than rounding."""
        off = NO_CONTRACTS
        for number, row in self.rows.items():
            if number in self.sums:
                traded = self.sums[number]
                off += abs(row.yes_cost_dollars - traded.yes_cost_dollars)
                off += abs(row.no_cost_dollars - traded.no_cost_dollars)
        return off > 2 * _MILLIONTH * self.fills

    @property
    def revenue_differs(self) -> bool:
        """Return whether a subaccount was paid something else than what it held."""
        for number, row in self.rows.items():
            held = self.sums.get(number)
            payout = row.payout
            if held is None or payout is None:
                continue
            net = held.yes_contracts - held.no_contracts
            if net < 0 and row.market_result not in ("yes", "no"):
                continue  # what a no contract of a scalar market pays is not documented
            due = net * payout if net > 0 else -net * (1 - payout)
            if abs(row.revenue_dollars - due) > _CENT:
                return True
        return False

    def breaks(self) -> Iterator[Break]:
        """Yield a break of scope settlement for each total that differs."""
        exchange, table = self.exchange, self.table
        for name, at_exchange, in_table in (
            ("yes_count_fp", exchange.yes, table.yes),
            ("no_count_fp", exchange.no, table.no),
            ("fee_cost", exchange.fees, table.fees),
        ):
            if at_exchange is not None and in_table is not None and at_exchange != in_table:
                yield Break(
                    "mismatch", "settlement", None, None, self.ticker, name, at_exchange, in_table
                )


class Evidence(NamedTuple):
    """What was found out about a settled market that differs."""

    market: SettledMarket
    first_fill: datetime | None
    """Of all its fills; None where the missing ones may be older than those in the table."""
    missing: int = 0
    """Fills that the exchange lists and the table lacks."""
    lacks_contracts: bool = False
    altered: tuple[FillKey, ...] = ()
    """Rows with another content than the exchange's, or not as a sync wrote them."""
    foreign: tuple[FillKey, ...] = ()
    """Rows that are no fills of the exchange."""
    repeated: tuple[FillKey, ...] = ()
    """Those of them that repeat another row under another id."""
    withdrawn: tuple[FillKey, ...] = ()
    """Rows as a sync wrote them that the exchange does not list any more."""
    not_of_fills: bool = False
    """The exchange's own fills do not add up to what it settled."""
    is_named: bool = False
    """Every fill that makes it differ is a break already."""


@dataclass(slots=True)
class SettledMarkets:
    """What came of comparing settled markets."""

    agreeing: int = 0
    pending: int = 0
    """Markets that differ by what may still come."""
    explained: int = 0
    """Markets that differ by fills that are breaks already."""
    breaks: list[Break] = field(default_factory=list)
    differing: int = 0
    evidence: list[Evidence] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    listed_for_each: list[str] = field(default_factory=list)
    """Markets that agree and whose one row was listed for several subaccounts."""
    left: list[SettledMarket] = field(default_factory=list)
    """Markets that differ and of which it is not known yet why; as many as breaks are listed."""
    skipped: str = ""
    """Why nothing was compared; empty where something was."""
    from_exchange: bool = False
    """The exchange's own list was read, not only what is stored of it."""


def totals_of(fills: Iterable[Content]) -> Totals:
    """Return what fills of the exchange, or rows of the table, add up to."""
    return total(
        Totals(
            Decimal(fill.size) if fill.side == "yes" else NO_CONTRACTS,
            Decimal(fill.size) if fill.side == "no" else NO_CONTRACTS,
            Decimal(fill.fee_dollars) if fill.fee_dollars else None,
        )
        for fill in fills
    )
