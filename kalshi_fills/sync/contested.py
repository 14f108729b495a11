"""One fill sent with two contents: the one that knows more is stored, the other is a break.

The other one is kept in quarantine, where the operator can accept it by its content. From then on
every pass waits for all reports of that fill before it stores one, so that neither replaces the
other again and again, in whatever order they come. Pure: no HTTP, no SQL, no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from kalshi_fills.pipeline.content import Content, content, contradictions, merge, time_of
from kalshi_fills.pipeline.fills import Fill, FillKey, Reason, Rejected
from kalshi_fills.pipeline.parse import read_item, refuse
from kalshi_fills.reconcile.breaks import Break, mismatch, value_of


class Conflict(NamedTuple):
    """A report of a fill that contradicts the one that is stored."""

    stored: Content
    other: Fill

    @property
    def moment(self) -> datetime:
        """The earlier one of the two event times."""
        return min(time_of(self.stored), self.other.executed_at)

    def breaks(self) -> list[Break]:
        """Return a break for each field in which the two disagree."""
        fill = self.other
        return [
            mismatch(
                fill.key,
                fill.ticker,
                found.field,
                value_of(found.field, found.reported),
                value_of(found.field, found.stored),
            )
            for found in contradictions(self.stored, content(fill))
        ]

    def refused(self) -> Rejected:
        """Return the other report as an item for the quarantine."""
        item = refuse(self.other.raw_json, Reason.CONTRADICTS_ANOTHER_REPORT)
        return item._replace(claims_fill=False)


class Contested(NamedTuple):
    """A fill of which earlier passes met two contents."""

    known: list[Content]
    """Contents that were not stored."""
    reported: list[Fill]
    """Its reports of this pass, each once."""

    def all_known(self) -> bool:
        """Return whether every report of this pass has a content that was not stored before."""
        return all(content(fill) in self.known for fill in self.reported)


def contested_fills(payloads: Iterable[str], now: datetime) -> dict[FillKey, Contested]:
    """Return the fills of which these payloads were not stored, by identity."""
    found: dict[FillKey, Contested] = {}
    for fill in _read(payloads, now):
        found.setdefault(fill.key, Contested([], [])).known.append(content(fill))
    return found


def join(one: Fill, other: Fill) -> tuple[Fill, Conflict | None]:
    """Return what two reports of a fill come to, and the conflict where they contradict."""
    joined = merge(one, other)
    unused = other if joined.raw_json == one.raw_json else one
    if contradictions(content(joined), content(unused)):
        return joined, Conflict(content(joined), unused)
    return joined, None


def reports(payloads: Iterable[str], now: datetime) -> dict[FillKey, Fill]:
    """Return the fills that payloads are read as, by identity; what is none is left out."""
    return {fill.key: fill for fill in _read(payloads, now)}


def _read(payloads: Iterable[str], now: datetime) -> Iterator[Fill]:
    for text in payloads:
        read = read_item(text, "", now)
        if isinstance(read, Fill):
            yield read
