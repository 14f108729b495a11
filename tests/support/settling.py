"""Settlements as the practice exchange has them, and as the table must."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from kalshi_fills.practice.account import PracticeAccount, generate_account
from kalshi_fills.practice.exchange import PracticeExchange
from kalshi_fills.practice.ledger import EPOCH
from kalshi_fills.practice.settlements import PracticeSettlement
from support.syncing import DAY, HOUR, NOW

SETTLED_COLUMNS = (
    "settled_at, market_ticker, event_ticker, subaccount_number, market_result, yes_contracts, "
    "no_contracts, yes_cost_dollars, no_cost_dollars, revenue_dollars, fee_dollars, "
    "payout_per_yes_dollars, exchange_index"
)

PLAIN: dict[str, Any] = {
    "event_ticker": "KXHIGHNY-26NOV15",
    "exchange_index": 0,
    "fee_cost": "0.350000",
    "market_result": "yes",
    "no_count_fp": "0.00",
    "no_total_cost_dollars": "0.000000",
    "revenue": 2000,
    "settled_time": "2026-11-16T13:00:07.32Z",
    "ticker": "KXHIGHNY-26NOV15-B48.5",
    "value": 100,
    "yes_count_fp": "20.00",
    "yes_total_cost_dollars": "10.000000",
}
"""A row as the exchange sends it."""


def settled_account(
    fills: int = 240, *, days: int = 8, share: float = 0.7, seed: int = 5, **options: Any
) -> PracticeAccount:
    """Return an account of three subaccounts that traded for some days up to an hour ago."""
    options = {"eras": "current", "subaccounts": (0, 1, 7)} | options
    account = generate_account(seed, fills, start=NOW - days * DAY, end=NOW - HOUR, **options)
    return account.settled(share, scalar_share=0.3)


def settled_truth(exchange: PracticeExchange) -> list[tuple[Any, ...]]:
    """Return the rows that the table of settlements must have, by SETTLED_COLUMNS, sorted."""
    return sorted(_row(settlement) for settlement in exchange.portfolio.rows())


def _row(settlement: PracticeSettlement) -> tuple[Any, ...]:
    market, changes = settlement.market, settlement.changes
    return (
        _moment(market.settled_at_us),
        settlement.ticker,
        settlement.event_ticker,
        settlement.subaccount,
        changes.get("market_result", market.result),
        settlement.yes_count,
        settlement.no_count,
        settlement.yes_cost,
        settlement.no_cost,
        Decimal(changes.get("revenue", settlement.revenue_cents)) / 100,
        Decimal(changes.get("fee_cost", settlement.fees)),
        None if market.payout_cents is None else Decimal(market.payout_cents) / 100,
        settlement.exchange_index,
    )


def _moment(at_us: int) -> datetime:
    return EPOCH + timedelta(microseconds=at_us)
