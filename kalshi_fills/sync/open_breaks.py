"""Breaks that a run found and that no later run has proven to be gone.

A run compares its window only, so that a break ages out of what cron compares. The ledger keeps
it until a run whose window holds its time does not find it any more.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from kalshi_fills.pipeline.window import Window

_LISTED: Final = 100
"""Breaks that are kept one by one; of the others their number and range is kept."""

_NAMED: Final = 3


class OpenBreak(NamedTuple):
    """One break, as far as it is needed to find it again."""

    kind: str
    fill_id: str
    order_id: str
    at: datetime
    """Event time of the fill, or the start of the hour in which it differs."""


class OpenBreaks:
    """The open breaks of a table, by event time."""

    def __init__(self, breaks: Iterable[OpenBreak] = ()) -> None:
        self.listed: list[OpenBreak] = []
        self._more = 0
        self._more_since: datetime | None = None
        self._more_until: datetime | None = None
        for one in breaks:
            self.add(one)

    def __len__(self) -> int:
        return len(self.listed) + self._more

    def add(self, one: OpenBreak) -> None:
        """Add a break."""
        if len(self.listed) < _LISTED:
            self.listed.append(one)
        else:
            self._add_more(1, one.at, one.at)

    def merge(self, others: OpenBreaks) -> None:
        """Add the breaks of another collection."""
        for one in others.listed:
            self.add(one)
        if others._more and others._more_since and others._more_until:
            self._add_more(others._more, others._more_since, others._more_until)

    def _add_more(self, count: int, since: datetime, until: datetime) -> None:
        self._more += count
        self._more_since = min(since, self._more_since or since)
        self._more_until = max(until, self._more_until or until)

    @property
    def since(self) -> datetime | None:
        """The earliest event time among them; None if there is none."""
        times = [one.at for one in self.listed]
        if self._more_since is not None:
            times.append(self._more_since)
        return min(times, default=None)

    def outside(self, compared: Window) -> OpenBreaks:
        """Return those that lie outside a window that was compared."""
        left = OpenBreaks(one for one in self.listed if not compared.holds(one.at))
        if self._more and self._more_since and self._more_until:
            covered = compared.holds(self._more_since) and compared.holds(self._more_until)
            if not covered:
                left._add_more(self._more, self._more_since, self._more_until)
        return left

    def described(self) -> str:
        """Return the first of them in words."""
        named = [
            f"{one.kind} fill {one.fill_id or 'without id'} of order {one.order_id or 'none'} "
            f"at {one.at:%Y-%m-%d %H:%M:%S}"
            for one in sorted(self.listed, key=lambda one: one.at)[:_NAMED]
        ]
        rest = len(self) - len(named)
        return "; ".join(named) + (f"; and {rest:,} more" if rest else "")

    def as_json(self) -> str:
        """Return them as the ledger keeps them; empty if there are none."""
        if not len(self):
            return ""
        kept: dict[str, object] = {
            "listed": [
                [one.kind, one.fill_id, one.order_id, one.at.isoformat()] for one in self.listed
            ],
        }
        if self._more and self._more_since and self._more_until:
            kept["more"] = [self._more, self._more_since.isoformat(), self._more_until.isoformat()]
        return json.dumps(kept)


def read_open_breaks(text: str) -> OpenBreaks:
    """Return the open breaks that the ledger keeps; what cannot be read is left out."""
    found = OpenBreaks()
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
        kept = json.loads(text) if text else {}
        for kind, fill_id, order_id, at in kept.get("listed", []):
            found.add(OpenBreak(str(kind), str(fill_id), str(order_id), _time(at)))
        if "more" in kept:
            count, since, until = kept["more"]
            found._add_more(int(count), _time(since), _time(until))
    return found


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
