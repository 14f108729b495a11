"""What can go wrong between the practice exchange and a client, on request.

Each switch is a probability per authenticated GET, drawn from a generator of its own, so that
turning one switch leaves the others' draws as they were. Mishaps hit any endpoint; page mishaps
hit the listings of fills. None of them takes a fill away: asking again, or going on with the
cursor that was given, always leads to every row.
"""

import random
import threading
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal, get_args

Mishap = Literal[
    "fail_first", "reset", "throttle", "server_error", "empty_body", "html_instead_of_json",
    "truncate", "endless_body",
]  # fmt: skip
PageMishap = Literal[
    "empty_page", "repeat_page", "overlap_page", "repeat_cursor", "endless_cursors"
]

_SWITCHES: tuple[Mishap, ...] = get_args(Mishap)[1:]
_PAGE_SWITCHES: tuple[PageMishap, ...] = get_args(PageMishap)


@dataclass(slots=True)
class Faults:
    """Switches from 0.0 (never) to 1.0 (every time); they can be changed while serving."""

    reset: float = 0.0
    """The connection is reset before any answer."""
    truncate: float = 0.0
    """The body stops short of its Content-Length and the connection closes."""
    endless_body: float = 0.0
    """After the body come spaces, one now and then, for ever."""
    slow: float = 0.0
    """The answer comes `slow_seconds` late; combines with the others."""
    empty_body: float = 0.0
    """200 with no body at all."""
    html_instead_of_json: float = 0.0
    """200 with a web page."""
    server_error: float = 0.0
    """500, 502, 503 or 504."""
    throttle: float = 0.0
    """429, whatever the bucket holds."""
    repeat_cursor: float = 0.0
    """The right rows with the cursor that was asked with."""
    repeat_page: float = 0.0
    """The page before, again, with a fresh cursor to where the client was."""
    overlap_page: float = 0.0
    """A page that starts with some rows of the page before."""
    empty_page: float = 0.0
    """No rows, with a fresh cursor to where the client was."""
    endless_cursors: float = 0.0
    """After the last row: a new cursor instead of none, and old rows, for ever."""
    slow_seconds: float = 1.0
    fail_first: int = 0
    """The first N authenticated GETs fail with 503."""
    seed: int = 0
    injected: Counter[str] = field(default_factory=Counter, init=False)
    """How often each fault has happened."""
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _generators: dict[str, random.Random] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the probabilities.

        Raises:
            ValueError: one of them is not between 0 and 1.
        """
        for name in (*_SWITCHES, *_PAGE_SWITCHES, "slow"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise ValueError(f"{name} must be between 0 and 1, not {share}")

    def _generator(self, name: str) -> random.Random:
        if name not in self._generators:
            seeded = random.Random(f"{self.seed}:{name}")
            self._generators[name] = seeded
        return self._generators[name]

    def _strikes(self, name: str) -> bool:
        share: float = getattr(self, name)
        if share <= 0 or self._generator(name).random() >= share:
            return False
        self.injected[name] += 1
        return True

    def delay(self) -> float:
        """Return how many seconds late the next answer comes."""
        with self._lock:
            return self.slow_seconds if self._strikes("slow") else 0.0

    def mishap(self) -> Mishap | None:
        """Return what happens to the next answer."""
        with self._lock:
            if self.injected["fail_first"] < self.fail_first:
                self.injected["fail_first"] += 1
                return "fail_first"
            return next((name for name in _SWITCHES if self._strikes(name)), None)

    def page_mishap(self, possible: Collection[PageMishap]) -> PageMishap | None:
        """Return what happens to the next page of fills, from what is possible there."""
        with self._lock:
            names = (name for name in _PAGE_SWITCHES if name in possible)
            return next((name for name in names if self._strikes(name)), None)

    def server_error_status(self) -> int:
        """Return the status of a server error."""
        with self._lock:
            return self._generator("status").choice((500, 502, 503, 504))
