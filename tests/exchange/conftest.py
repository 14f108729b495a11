"""Clients of the exchange, and servers with a script."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.commandline import KEY_ID, Account
from support.wire import QUICK, Answer, Request, Wire

from kalshi_fills.exchange.endpoints import Exchange
from kalshi_fills.exchange.signing import Signer
from kalshi_fills.practice.exchange import PracticeExchange


@pytest.fixture
def wire() -> Iterator[Callable[..., Wire]]:
    """Start servers with a script, or with answers of which the last is given again and again."""
    running: list[Wire] = []

    def start(*answers: Any) -> Wire:
        if callable(answers[0]):
            script = answers[0]
        else:
            queue = itertools.chain(answers, itertools.repeat(answers[-1]))

            def script(_: Request) -> Answer:
                return next(queue)

        running.append(Wire(script))
        return running[-1]

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def connect(api_key: Account) -> Iterator[Callable[..., Exchange]]:
    """Connect to an exchange with the practice key; connections close with the test."""
    opened: list[Exchange] = []

    def start(server: Wire | PracticeExchange | str, **options: Any) -> Exchange:
        options.setdefault("retry", QUICK)
        signer = options.pop("signer", Signer(KEY_ID, api_key.key))
        url = server if isinstance(server, str) else server.url
        opened.append(Exchange(url, signer, **options))
        return opened[-1]

    yield start
    for exchange in opened:
        exchange.close()
