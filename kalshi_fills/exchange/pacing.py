"""The account's rate limit: how long each request has to wait for its turn."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from token_bucket import Limiter, MemoryStorage

log = logging.getLogger(__name__)

DEFAULT_COST: Final = 10
"""Tokens that a request costs where nothing else is known."""

_LONG_WAIT_SECONDS: Final = 3.0

_WARN_EVERY_SECONDS: Final = 60.0

_KEY: Final = "read"

_LONGEST_REFILL_SECONDS: Final = 60
"""How long one request may wait for its tokens, however much it costs."""


class Limits(NamedTuple):
    """The account's read budget: a bucket of tokens, and what requests cost."""

    refill_rate: int = 200
    """Tokens a second."""
    bucket_capacity: int = 200
    default_cost: int = DEFAULT_COST
    costs: Mapping[str, int] = {}
    """The cost of a GET by its path from the host's root, where it is not the default."""

    def cost(self, path: str) -> int:
        """Return the tokens that a GET of a path costs, no more than the bucket ever holds."""
        most = max(1, min(self.bucket_capacity, self.refill_rate * _LONGEST_REFILL_SECONDS))
        return min(self.costs.get(path, self.default_cost), most)


class Pace:
    """Keeps requests within a share of the account's limits, from any thread; at first, unlimited.

    Args:
        share: which part of the limits may be used, 0 < share <= 1.
        sleep: waits for some seconds.
        on_wait: called with the seconds to wait where the limit asks for more than a few; by
            whichever thread waits.
    """

    def __init__(
        self, share: float, sleep: Callable[[float], None], on_wait: Callable[[float], None]
    ) -> None:
        self._share = share
        self._sleep = sleep
        self._on_wait = on_wait
        self._limits = Limits()
        self._tokens = MemoryStorage()
        self._bucket: Limiter | None = None
        self._taking = threading.Lock()
        self._sent_before = 0
        """Requests that were sent before the limits were known: the exchange counted them."""
        self._warned_at = -math.inf
        self._warning = threading.Lock()

    def use(self, limits: Limits) -> None:
        """Keep to these limits from now on."""
        dearest = max(limits.cost(path) for path in ("", *limits.costs))
        capacity = int(limits.bucket_capacity * self._share)
        if capacity >= 2 * dearest:
            capacity -= dearest  # what arrives a little sooner than it was sent finds its tokens
        capacity = max(dearest, capacity)
        with self._taking:
            self._limits = limits
            self._tokens = MemoryStorage()
            self._bucket = Limiter(max(0.01, self._rate), capacity, self._tokens)
            sent = self._sent_before * limits.default_cost
            self._bucket.consume(_KEY, min(max(sent, 1), capacity))

    @property
    def _rate(self) -> float:
        """Tokens a second."""
        return self._limits.refill_rate * self._share

    def requests_a_second(self, full_path: str) -> float:
        """Return how many GETs of a path the limits allow for long; infinite without limits."""
        return math.inf if self._bucket is None else self._rate / self._limits.cost(full_path)

    def wait(self, path: str, full_path: str) -> None:
        """Wait until a GET may be sent.

        Args:
            path: endpoint below the API's root, for the log.
            full_path: the same from the host's root, as costs are listed.
        """
        began = time.monotonic()
        cost = self._limits.cost(full_path)
        while left := self._seconds_until(cost):
            if time.monotonic() - began + left > _LONG_WAIT_SECONDS:
                self._warn(path, cost, left)
            self._sleep(left)

    def _seconds_until(self, cost: int) -> float:
        """Take the tokens of a request and return 0, or return how long they are yet to come."""
        with self._taking:
            if self._bucket is None:
                self._sent_before += 1
                return 0.0
            if self._bucket.consume(_KEY, cost):
                return 0.0
            lacking = cost - self._tokens.get_token_count(_KEY)
            return max(lacking / max(0.01, self._rate), 0.001)

    def _warn(self, path: str, cost: int, seconds: float) -> None:
        with self._warning:
            now = time.monotonic()
            if now - self._warned_at < _WARN_EVERY_SECONDS:
                return
            self._warned_at = now
        fields = {"path": path, "cost": cost, "wait_seconds": round(seconds, 1)}
        log.warning("rate_limit_wait", extra={"fields": fields})
        self._on_wait(seconds)
