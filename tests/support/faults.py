"""Syncs from an exchange with faults."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from kalshi_fills.practice.exchange import PracticeExchange
from support.commandline import Done
from support.syncing import (
    canonical,
)

Cli = Callable[..., Done]


Serve = Callable[..., PracticeExchange]


server_only = pytest.mark.parametrize(
    "target", [pytest.param("server", marks=pytest.mark.server)], indirect=True
)


def refused(read: Callable[..., list[tuple[Any, ...]]], table: str) -> Counter[str]:
    """Return the items in quarantine; more than one row of an item would count as many."""
    return Counter(
        canonical(json.loads(raw)) for (raw,) in read(f"SELECT raw_json FROM {table} FINAL")
    )
