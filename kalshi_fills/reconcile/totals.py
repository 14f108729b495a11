"""Totals of a settlement and of fills: contracts of both outcomes, costs, fees."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

NO_CONTRACTS: Final = Decimal(0)


class Totals(NamedTuple):
    """Contracts of both outcomes, and fees: of a settlement, or of fills."""

    yes: Decimal = NO_CONTRACTS
    no: Decimal = NO_CONTRACTS
    fees: Decimal | None = NO_CONTRACTS
    """None where the fee of a fill is not known."""

    def plus(self, other: Totals) -> Totals:
        """Return both together."""
        unknown = self.fees is None or other.fees is None
        fees = None if unknown else (self.fees or NO_CONTRACTS) + (other.fees or NO_CONTRACTS)
        return Totals(self.yes + other.yes, self.no + other.no, fees)

    def agrees(self, other: Totals) -> bool:
        """Return whether contracts agree, and fees where both sides know all of them."""
        if (self.yes, self.no) != (other.yes, other.no):
            return False
        return self.fees is None or other.fees is None or self.fees == other.fees

    def lacks_contracts_of(self, other: Totals) -> bool:
        """Return whether the other side has more contracts of an outcome."""
        return self.yes < other.yes or self.no < other.no


class SettledRow(NamedTuple):
    """A settlement of one market and subaccount, as far as fills can be held against it."""

    market_ticker: str
    subaccount_number: int
    settled_at: datetime
    market_result: str
    yes_contracts: Decimal
    no_contracts: Decimal
    yes_cost_dollars: Decimal
    no_cost_dollars: Decimal
    revenue_dollars: Decimal
    fee_dollars: Decimal
    payout_per_yes_dollars: Decimal | None

    @property
    def totals(self) -> Totals:
        """What the exchange says of all fills."""
        return Totals(self.yes_contracts, self.no_contracts, self.fee_dollars)

    @property
    def payout(self) -> Decimal | None:
        """What one yes contract paid; None where that is not known."""
        known = {"yes": Decimal(1), "no": Decimal(0)}
        return known.get(self.market_result, self.payout_per_yes_dollars)


class SettledSums(NamedTuple):
    """What the table's fills of one market and subaccount add up to."""

    fills: int
    first_fill: datetime
    yes_contracts: Decimal
    no_contracts: Decimal
    yes_cost_dollars: Decimal
    no_cost_dollars: Decimal
    fees_dollars: Decimal
    fees_unknown: int

    @property
    def totals(self) -> Totals:
        """Contracts and fees."""
        fees = None if self.fees_unknown else self.fees_dollars
        return Totals(self.yes_contracts, self.no_contracts, fees)


def total(parts: Iterable[Totals]) -> Totals:
    """Return the sum of totals."""
    found = Totals()
    for part in parts:
        found = found.plus(part)
    return found
