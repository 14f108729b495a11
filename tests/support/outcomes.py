"""What a command left in its table and its log."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from kalshi_fills.practice.account import PracticeAccount, generate_account
from kalshi_fills.practice.exchange import PracticeExchange
from support.commandline import Done

Cli = Callable[..., Done]


Serve = Callable[..., PracticeExchange]


DAY = timedelta(days=1)


def account_of(fills: int, now: datetime, **options: Any) -> PracticeAccount:
    options.setdefault("eras", "current")
    return generate_account(21, fills, start=now - 7 * DAY, end=now, **options)
