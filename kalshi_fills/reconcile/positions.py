"""The leg of positions: what a market's fills add up to against what the exchange says is held."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from kalshi_fills.errors import ExchangeError
from kalshi_fills.exchange.endpoints import (
    Listed,
    is_not_to_be_had,
    is_restricted,
    positions,
)
from kalshi_fills.reconcile.breaks import Break
from kalshi_fills.reconcile.fills import by_key, compare_fills
from kalshi_fills.reconcile.listed import Bounds, ListedFills, must_be_stored
from kalshi_fills.reconcile.moved import join_moved_fills
from kalshi_fills.words import many, one_or_more

if TYPE_CHECKING:
    from kalshi_fills.exchange.endpoints import Exchange
    from kalshi_fills.exchange.records import Position
    from kalshi_fills.pipeline.fills import Fill
    from kalshi_fills.reconcile.lookups import TableLookups
    from kalshi_fills.reconcile.reader import ExchangeReader
    from kalshi_fills.reconcile.reconciliation import Reconciliation
    from kalshi_fills.warehouse.store import FillStore

_LOOKED_AT_AGAIN: Final = 200
"""Markets whose positions differ that are looked at again."""


class PositionDifference(NamedTuple):
    """The contracts of one subaccount, or of all of them, where both sides differ."""

    subaccount: int | None
    """None for all of them together."""
    exchange: Decimal
    table: Decimal


class MarketPosition(NamedTuple):
    """One market on both sides, in yes contracts."""

    ticker: str
    exchange: Mapping[int, Decimal]
    """What the exchange says is held, by subaccount."""
    table: Mapping[int | None, Decimal]
    """What the table's fills add up to, by subaccount; None where the fill does not say."""

    def differing(self) -> list[PositionDifference]:
        """Return where the contracts differ.

        Where a fill's subaccount is not known, only the sums over all of them can be compared.
        """
        if None in self.table:
            exchange = sum(self.exchange.values(), Decimal(0))
            table = sum(self.table.values(), Decimal(0))
            return [PositionDifference(None, exchange, table)] if exchange != table else []
        return [
            PositionDifference(subaccount, contracts, self.table.get(subaccount, Decimal(0)))
            for subaccount, contracts in sorted(self.exchange.items())
            if contracts != self.table.get(subaccount, Decimal(0))
        ]

    def is_met_by(self, more: Sequence[Fill]) -> bool:
        """Return whether each position agrees after some of these fills, one after the other."""
        differing = {one.subaccount for one in self.differing()}
        for later in self._after(more):
            differing &= {one.subaccount for one in later.differing()}
        return not differing

    def is_met_but_moved(self, more: Sequence[Fill]) -> bool:
        """Return whether all subaccounts together agree, now or after some of these fills."""
        return any(one.is_moved_between_subaccounts() for one in (self, *self._after(more)))

    def _after(self, more: Sequence[Fill]) -> Iterator[MarketPosition]:
        """Yield the market after each of these fills, one after the other."""
        table = dict(self.table)
        for fill in more:
            for where, contracts in sum_up([fill]).items():
                table[where] = table.get(where, Decimal(0)) + contracts
            yield self._replace(table=dict(table))

    def is_moved_between_subaccounts(self) -> bool:
        """Return whether all subaccounts together agree: contracts only moved."""
        return sum(self.exchange.values(), Decimal(0)) == sum(
            (self.table.get(subaccount, Decimal(0)) for subaccount in self.exchange), Decimal(0)
        )

    def breaks(self) -> Iterator[Break]:
        """Yield a break of scope position for each subaccount that differs."""
        for subaccount, exchange, table in self.differing():
            where = "position_fp" if subaccount is None else f"position_fp of {subaccount}"
            yield Break("mismatch", "position", None, None, self.ticker, where, exchange, table)


def sum_up(fills: Iterable[Fill]) -> dict[int | None, Decimal]:
    """Return what fills of one market add up to by subaccount, in yes contracts."""
    sums: dict[int | None, Decimal] = {}
    for fill in fills:
        texts = fill.content
        where = int(texts.subaccount_number) if texts.subaccount_number else None
        signed = Decimal(texts.size) * (1 if texts.side == "yes" else -1)
        sums[where] = sums.get(where, Decimal(0)) + signed
    return sums


@dataclass(slots=True)
class PrimaryPositions:
    """The positions of the primary subaccount, and what came of asking for them."""

    positions: list[Position] = field(default_factory=list)
    listing: Listed = field(default_factory=Listed)
    restricted: bool = False
    """The key is restricted to one subaccount."""
    refused: str = ""
    """Why positions cannot be had at all."""


def read_primary_positions(exchange: Exchange) -> PrimaryPositions:
    """Ask for the primary subaccount's positions: a restricted key is refused them."""
    found = PrimaryPositions()
    try:
        pages = positions(exchange, 0, found.listing)
        found.positions = [one for page in pages for one in page]
    except ExchangeError as error:
        if is_restricted(error):
            found.restricted = True
        elif is_not_to_be_had(error):
            found.refused = error.message
        else:
            raise
    return found


def compare_positions(
    reader: ExchangeReader,
    store: FillStore,
    lookups: TableLookups,
    listed: ListedFills,
    bounds: Bounds,
    found: Reconciliation,
    primary: PrimaryPositions,
) -> None:
    """Compare the positions that are held with what all fills of their markets add up to."""
    if primary.restricted:
        found.notes.append("Positions were not compared: the key may not read them.")
        return
    if primary.refused:
        found.blind.append(f"Positions could not be compared: {primary.refused}.")
        return
    seen = {int(text) for text in listed.subaccounts if text}
    held = _positions_by_market(reader.exchange, seen.union(lookups.subaccounts()), primary)
    listing = primary.listing
    if listing.unreadable:
        sentence = (
            f"{listing.unreadable:,} of {many(listing.items, 'position')} could not be read and "
            f"{one_or_more(listing.unreadable, 'was', 'were')} not compared; the exchange may have "
            "renamed position_fp."
        )
        (found.notes if held else found.blind).append(sentence)
    sums = lookups.position_sums(sorted(held))
    looked_at_again = 0
    for ticker, subaccounts in sorted(held.items()):
        market = MarketPosition(ticker, subaccounts, sums.get(ticker, {}))
        if not market.differing():
            found.proven.positions += len(subaccounts)
            continue
        if looked_at_again >= _LOOKED_AT_AGAIN:
            found.blind.append(
                f"More than {_LOOKED_AT_AGAIN} positions differ; the rest was not looked at."
            )
            return
        looked_at_again += 1
        _look_again(market, reader, store, lookups, listed, bounds, found)


def _positions_by_market(
    exchange: Exchange, subaccounts: set[int], primary: PrimaryPositions
) -> dict[str, dict[int, Decimal]]:
    held: dict[str, dict[int, Decimal]] = {}
    for subaccount in sorted(subaccounts):
        pages = (
            [primary.positions]
            if subaccount == 0
            else positions(exchange, subaccount, primary.listing)
        )
        for page in pages:
            for position in page:
                held.setdefault(position.ticker, {})[subaccount] = position.contracts
    return held


def _look_again(
    market: MarketPosition,
    reader: ExchangeReader,
    store: FillStore,
    lookups: TableLookups,
    listed: ListedFills,
    bounds: Bounds,
    found: Reconciliation,
) -> None:
    """Ask for every fill of a market whose position differs, and find what makes it differ."""
    fills = by_key(reader.fills_of_market(market.ticker))
    rows = lookups.fills_of_market(market.ticker)
    breaks = (
        one
        for one in compare_fills(fills, rows, bounds.current_until)
        if one.kind != "missing" or must_be_stored(fills[one.key], bounds, listed)
    )
    new = found.not_listed_yet(breaks)
    if new:
        found.add(join_moved_fills(new, store, reader, listed))
    for one in new:
        differing = fills.get(one.key)
        found.note_difference(differing.content.moment if differing else None)
    by_fills = market._replace(table=sum_up(fills.values()))
    if not by_fills.differing():
        return  # a fill differs, or is newer than what was compared: a break already, or pending
    # Contracts may change hands any moment: the position is that of one between two readings.
    by_fills = by_fills._replace(exchange=_position_now(market, reader.exchange))
    later = by_key(reader.fills_of_market(market.ticker))
    new_fills = [fill for key, fill in later.items() if key not in fills]
    new_fills.sort(key=lambda fill: fill.content.moment)
    if by_fills.is_met_by(new_fills):
        return
    if by_fills.is_met_but_moved(new_fills):
        found.notes.append(
            f"{market.ticker}: contracts were moved between subaccounts, which leaves no fill; "
            "all subaccounts together agree."
        )
        return
    found.add(list(by_fills._replace(table=sum_up(later.values())).breaks()))


def _position_now(market: MarketPosition, exchange: Exchange) -> dict[int, Decimal]:
    """Return a market's positions, asked for once more, in the same subaccounts."""
    return {
        one.subaccount_number: one.contracts
        for subaccount in market.exchange
        for page in positions(exchange, subaccount)
        for one in page
        if one.ticker == market.ticker
    }
