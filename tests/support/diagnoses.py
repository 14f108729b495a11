"""Tables that are wrong in one known way, and what a diagnosis says of them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from kalshi_fills.practice.account import (
    PracticeAccount,
    PracticeFill,
)
from kalshi_fills.reconcile.breaks import Break, FillSide
from support.syncing import (
    NOW,
)

embedded_only = pytest.mark.parametrize("warehouse", ["embedded"], indirect=True)
"""For tests of what is decided in Python; what the SQL says is tested on both engines."""


def side_of(fill: PracticeFill) -> FillSide:
    """Return a fill as one side of a break."""
    at = datetime.fromtimestamp(0, NOW.tzinfo) + timedelta(microseconds=fill.executed_at_us)
    price = fill.yes_price if fill.outcome_side == "yes" else 1 - fill.yes_price
    return FillSide(at, fill.outcome_side, price, fill.count)


def fill_break(kind: str, fill: PracticeFill, **more: Any) -> Break:
    plain = Break(kind, "fill", fill.fill_id, fill.order_id, fill.ticker, None, None, None)
    return plain._replace(**more)


def open_market(account: PracticeAccount) -> str:
    """Return a market that is not settled by now."""
    now_us = int(NOW.timestamp() * 1_000_000)
    return next(
        fill.ticker for fill in account.fills if not account.is_settled(fill.ticker, now_us)
    )
