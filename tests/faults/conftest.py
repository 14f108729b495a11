"""Syncs from an exchange with faults."""

from __future__ import annotations

from typing import Any

import pytest
from support import syncing
from support.commandline import Account, Target
from support.faults import Cli, Serve
from support.syncing import (
    Bench,
)

from kalshi_fills.exchange.client import RetryBudget
from kalshi_fills.warehouse.client import Warehouse


@pytest.fixture
def bench(
    warehouse: Warehouse, ready: Any, api_key: Account, serve: Serve, monkeypatch: Any
) -> Bench:
    """A bench whose requests have the tool's own time for retries, with shorter waits between."""
    budget = RetryBudget(
        seconds=60.0, attempts=60, first_wait_seconds=0.002, longest_wait_seconds=0.01
    )
    monkeypatch.setattr(syncing, "RetryBudget", lambda *_: budget)
    return Bench(warehouse, ready, api_key, serve, migrated=True)


@pytest.fixture
def migrated(cli: Cli, target: Target) -> Target:
    assert cli("migrate", url=target.url).code == 0
    return target
