"""The account's rate limit: how long each request has to wait for its turn."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final, NamedTuple

from throttled import MemoryStore, RateLimiterType, Throttled, rate_limiter

log = logging.getLogger(__name__)

DEFAULT_COST: Final = 10
"""Tokens that a request costs where nothing else is known."""

_LONG_WAIT_SECONDS: Final = 3.0

_WARN_EVERY_SECONDS: Final = 60.0

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
        self._bucket: Throttled | None = None
        self._waited_at = -math.inf
        self._warned_at = -math.inf
        self._warning = threading.Lock()

    def use(self, limits: Limits) -> None:
        """Keep to these limits from now on."""
        self._limits = limits
        dearest = max(limits.cost(path) for path in ("", *limits.costs))
        self._bucket = Throttled(
            key="read",
            using=RateLimiterType.GCRA.value,
            quota=rate_limiter.per_duration(
                timedelta(seconds=100),
                limit=max(1, int(limits.refill_rate * self._share * 100)),
                burst=max(dearest, int(limits.bucket_capacity * self._share)),
            ),
            store=MemoryStore(),
        )

    def is_limiting(self) -> bool:
        """Return whether a request had to wait within the last second."""
        return time.monotonic() - self._waited_at < 1

    def wait(self, path: str, full_path: str) -> None:
        """Wait until a GET may be sent.

        Args:
            path: endpoint below the API's root, for the log.
            full_path: the same from the host's root, as costs are listed.
        """
        # The library's own waiting sleeps longer than a small bucket needs.
        began = time.monotonic()
        cost = self._limits.cost(full_path)
        while self._bucket is not None:
            answer = self._bucket.limit(cost=cost, timeout=-1)
            if not answer.limited:
                return
            left = max(answer.state.retry_after, 0.001)
            now = self._waited_at = time.monotonic()
            if now - began + left > _LONG_WAIT_SECONDS:
                self._warn(path, cost, left)
            self._sleep(left)
            self._waited_at = time.monotonic()

    def _warn(self, path: str, cost: int, seconds: float) -> None:
        with self._warning:
            now = time.monotonic()
            if now - self._warned_at < _WARN_EVERY_SECONDS:
                return
            self._warned_at = now
        fields = {"path": path, "cost": cost, "wait_seconds": round(seconds, 1)}
        log.warning("rate_limit_wait", extra={"fields": fields})
        self._on_wait(seconds)
