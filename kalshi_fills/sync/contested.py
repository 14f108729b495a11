"""One fill sent with two contents: the one that knows more is stored, the other is a break.

The other one is kept in quarantine, where the operator can accept it by its content. From then on
every pass waits for all reports of that fill before it stores one, so that neither replaces the
other again and again, in whatever order they come. Pure: no HTTP, no SQL, no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from kalshi_fills.pipeline.content import contradictions, merge
from kalshi_fills.pipeline.fills import Content, Fill, FillKey, Reason, Rejected
from kalshi_fills.pipeline.parse import read_item, refuse
from kalshi_fills.reconcile.breaks import Break, mismatch


class Conflict(NamedTuple):
    """A report of a fill that contradicts the one that is stored."""

    stored: Content
    other: Fill

    @property
    def moment(self) -> datetime:
        """The earlier one of the two event times."""
        return min(self.stored.moment, self.other.content.moment)

    def breaks(self) -> list[Break]:
        """Return a break for each field in which the two disagree."""
        reported = self.other.content
        return [mismatch(reported, one) for one in contradictions(self.stored, reported)]

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
        return all(fill.content in self.known for fill in self.reported)


def contested_fills(payloads: Iterable[str], now: datetime) -> dict[FillKey, Contested]:
    """Return the fills of which these payloads were not stored, by identity."""
    found: dict[FillKey, Contested] = {}
    for fill in _read(payloads, now):
        found.setdefault(fill.key, Contested([], [])).known.append(fill.content)
    return found


def join(one: Fill, other: Fill) -> tuple[Fill, Conflict | None]:
    """Return what two reports of a fill come to, and the conflict where they contradict."""
    joined = merge(one, other)
    unused = other if joined.raw_json == one.raw_json else one
    if contradictions(joined.content, unused.content):
        return joined, Conflict(joined.content, unused)
    return joined, None


def reports(payloads: Iterable[str], now: datetime) -> dict[FillKey, Fill]:
    """Return the fills that payloads are read as, by identity; what is none is left out."""
    return {fill.key: fill for fill in _read(payloads, now)}


def _read(payloads: Iterable[str], now: datetime) -> Iterator[Fill]:
    for text in payloads:
        read = read_item(text, "", now)
        if isinstance(read, Fill):
            yield read
