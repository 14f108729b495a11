"""What the practice exchange settles and pays: settlements and balances, derived from fills.

A market settles once, as yes, no or scalar; what a subaccount is paid then follows from all its
fills in the market, so that contracts, costs, fees and revenue tie out by construction.
`settle_markets` decides which markets of an account settle, and as what. Pure: no clock, no I/O.
"""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from kalshi_fills.practice.ledger import (
    SECOND_US,
    PracticeFill,
    positions_of,
    rfc3339,
    six_places,
)

OPENING_DOLLARS = Decimal(100_000)
"""What every subaccount had on the default shard before its first fill."""

_ONE = Decimal(1)
_NO_CONTRACTS = Decimal("0.00")
_HUNDREDTH_OF_A_CENT = Decimal("0.0001")


@dataclass(frozen=True, slots=True)
class MarketSettlement:
    """How a market was settled."""

    settled_at_us: int
    result: str
    """`yes`, `no` or `scalar`; what else the exchange may call it is served as it is."""
    payout_cents: int | None
    """Of one yes contract; None leaves it out, and pays back what a position cost."""


@dataclass(slots=True)
class PracticeSettlement:
    """One market's settlement for one subaccount, or for several together."""

    ticker: str
    subaccount: int | None
    """None where the row is the sum of all subaccounts."""
    exchange_index: int
    market: MarketSettlement
    yes_count: Decimal = _NO_CONTRACTS
    no_count: Decimal = _NO_CONTRACTS
    yes_cost: Decimal = Decimal(0)
    no_cost: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    revenue_cents: int = 0
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the payload that the exchange shows otherwise."""

    @property
    def place(self) -> tuple[int, str]:
        """The row's place in the listing: by its time, ties by market and subaccount."""
        number = 0 if self.subaccount is None else self.subaccount
        return self.market.settled_at_us, f"{self.ticker}/{number:02d}"

    @property
    def event_ticker(self) -> str:
        """The market's event: its ticker without the last part."""
        return self.ticker.rpartition("-")[0] or self.ticker

    def book(self, fill: PracticeFill) -> None:
        """Add one fill of the market."""
        if fill.outcome_side == "yes":
            self.yes_count += fill.count
            self.yes_cost += fill.count * fill.yes_price
        else:
            self.no_count += fill.count
            self.no_cost += fill.count * (_ONE - fill.yes_price)
        self.fees += fill.fee

    def pay(self) -> None:
        """Work out the revenue, once every fill is booked."""
        held, payout = self.yes_count - self.no_count, self.market.payout_cents
        if payout is None:
            cents = (self.yes_cost + self.no_cost) * 100
        else:
            cents = held * payout if held > 0 else -held * (100 - payout)
        self.revenue_cents = int(cents.quantize(_ONE, ROUND_HALF_EVEN))

    def add(self, other: "PracticeSettlement") -> None:
        """Add another subaccount's row of the same market; each is paid for what it holds."""
        self.yes_count += other.yes_count
        self.no_count += other.no_count
        self.yes_cost += other.yes_cost
        self.no_cost += other.no_cost
        self.fees += other.fees
        self.revenue_cents += other.revenue_cents

    def payload(self) -> dict[str, Any]:
        """Return the row as the API's Settlement object."""
        payout = self.market.payout_cents
        return {
            "event_ticker": self.event_ticker,
            "exchange_index": self.exchange_index,
            "fee_cost": six_places(self.fees),
            "market_result": self.market.result,
            "no_count_fp": str(self.no_count),
            "no_total_cost_dollars": six_places(self.no_cost),
            "revenue": self.revenue_cents,
            "settled_time": rfc3339(self.market.settled_at_us),
            "ticker": self.ticker,
            **({} if payout is None else {"value": payout}),
            "yes_count_fp": str(self.yes_count),
            "yes_total_cost_dollars": six_places(self.yes_cost),
            **self.changes,
        }


def settlements_of(
    fills: Iterable[PracticeFill], markets: Mapping[str, MarketSettlement]
) -> dict[tuple[str, int], PracticeSettlement]:
    """Return the settlement of each (ticker, subaccount) with fills, whatever the time is."""
    rows: dict[tuple[str, int], PracticeSettlement] = {}
    for fill in fills:
        market = markets.get(fill.ticker)
        if market is None:
            continue
        key = fill.ticker, fill.subaccount
        if key not in rows:
            rows[key] = PracticeSettlement(*key, fill.exchange_index, market)
        rows[key].book(fill)
    for row in rows.values():
        row.pay()
    return rows


def summed_by_market(rows: Iterable[PracticeSettlement]) -> list[PracticeSettlement]:
    """Return one row for each market, as if the account had no subaccounts."""
    sums: dict[str, PracticeSettlement] = {}
    for row in rows:
        if row.ticker in sums:
            sums[row.ticker].add(row)
        else:
            sums[row.ticker] = replace(row, subaccount=None)
    return list(sums.values())


def settle_markets(
    tickers: Mapping[str, int], *, share: float = 1.0, scalar_share: float = 0.1, seed: int = 1
) -> dict[str, MarketSettlement]:
    """Return how a share of the markets settles.

    Args:
        tickers: when each market closes, in microseconds; it settles within two minutes.
        share: which share of the markets settles at all.
        scalar_share: which share of these pays something between nothing and a dollar.
        seed: the same seed, the same results.
    """
    settled = {}
    for ticker, closes_at_us in tickers.items():
        rng = random.Random(f"{seed}:{ticker}")
        if rng.random() >= share:
            continue
        settled_at_us = closes_at_us + rng.randrange(SECOND_US, 120 * SECOND_US)
        if rng.random() < scalar_share:
            settled[ticker] = MarketSettlement(settled_at_us, "scalar", rng.randrange(1, 100))
        elif rng.random() < 0.5:
            settled[ticker] = MarketSettlement(settled_at_us, "yes", 100)
        else:
            settled[ticker] = MarketSettlement(settled_at_us, "no", 0)
    return settled


def balances_of(
    fills: Iterable[PracticeFill], paid: Iterable[PracticeSettlement], subaccounts: Iterable[int]
) -> dict[tuple[int, int], Decimal]:
    """Return the cash of each (subaccount, shard) after these fills and settlements, in dollars.

    Each pair of a yes and a no contract returns one dollar, in whatever order they came.
    """
    cash = {(number, 0): OPENING_DOLLARS for number in subaccounts}
    markets: dict[tuple[str, int], list[Decimal]] = {}
    for fill in fills:
        yes = fill.outcome_side == "yes"
        counts = markets.setdefault((fill.ticker, fill.subaccount), [Decimal(0), Decimal(0)])
        before = min(counts)
        counts[0 if yes else 1] += fill.count
        leg = fill.yes_price if yes else _ONE - fill.yes_price
        change = min(counts) - before - fill.count * leg - fill.fee
        key = fill.subaccount, fill.exchange_index
        cash[key] = cash.get(key, Decimal(0)) + change
    for row in paid:
        key = row.subaccount or 0, row.exchange_index
        cash[key] = cash.get(key, Decimal(0)) + Decimal(row.revenue_cents).scaleb(-2)
    return cash


def open_value(oldest_first: Iterable[PracticeFill]) -> dict[int, Decimal]:
    """Return what each subaccount paid for what it holds after these fills, in dollars."""
    value: dict[int, Decimal] = {}
    for position in positions_of(oldest_first).values():
        held = value.get(position.subaccount, Decimal(0))
        value[position.subaccount] = held + position.exposure
    return value


def four_places(dollars: Decimal) -> str:
    """Return dollars as text with four decimals."""
    return format(dollars.quantize(_HUNDREDTH_OF_A_CENT, ROUND_HALF_EVEN), "f")
