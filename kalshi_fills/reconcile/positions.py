"""Positions against what the fills of a market add up to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from kalshi_fills.pipeline.fills import Fill
from kalshi_fills.reconcile.breaks import Break


class MarketPosition(NamedTuple):
    """One market on both sides, in yes contracts."""

    ticker: str
    told: Mapping[int, Decimal]
    """What the exchange says is held, by subaccount."""
    held: Mapping[int | None, Decimal]
    """What the table's fills add up to, by subaccount; None where the fill does not tell."""

    def differing(self) -> list[tuple[int | None, Decimal, Decimal]]:
        """Give subaccount, exchange's and table's contracts where they differ.

        Where a fill's subaccount is not known, only the sums over all of them can be compared.
        """
        if None in self.held:
            told, held = sum(self.told.values(), Decimal(0)), sum(self.held.values(), Decimal(0))
            return [(None, told, held)] if told != held else []
        return [
            (subaccount, contracts, self.held.get(subaccount, Decimal(0)))
            for subaccount, contracts in sorted(self.told.items())
            if contracts != self.held.get(subaccount, Decimal(0))
        ]

    def is_met_by(self, more: Sequence[Fill]) -> bool:
        """Whether each position agrees after some of these fills, taken one after the other."""
        differing = {one[0] for one in self.differing()}
        for count in range(1, len(more) + 1):
            sums = sum_up(more[:count])
            held = {
                where: self.held.get(where, Decimal(0)) + sums.get(where, Decimal(0))
                for where in self.held.keys() | sums.keys()
            }
            differing &= {one[0] for one in self._replace(held=held).differing()}
        return not differing

    def is_moved_between_subaccounts(self) -> bool:
        """Whether all subaccounts together agree: then contracts were moved, without a fill."""
        return sum(self.told.values(), Decimal(0)) == sum(
            (self.held.get(subaccount, Decimal(0)) for subaccount in self.told), Decimal(0)
        )

    def breaks(self) -> Iterator[Break]:
        """Yield a break of scope position for each subaccount that differs."""
        for subaccount, told, held in self.differing():
            where = "position_fp" if subaccount is None else f"position_fp of {subaccount}"
            yield Break("mismatch", "position", None, None, self.ticker, where, told, held)


def sum_up(fills: Iterable[Fill]) -> dict[int | None, Decimal]:
    """Add up the fills of one market by subaccount, yes contracts positive, no negative."""
    sums: dict[int | None, Decimal] = {}
    for fill in fills:
        where = fill.subaccount_number
        signed = fill.contracts if fill.outcome == "yes" else -fill.contracts
        sums[where] = sums.get(where, Decimal(0)) + signed
    return sums
