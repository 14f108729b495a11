"""Paging through rows that keep coming: keyset cursors, newest first.

A cursor names the place of the last row served, so rows that arrive ahead of it shift nothing. It
is opaque to clients and may be spelled in more than one way for one place. The page mishaps of
`faults` are played here, where it is known what each of them may do without losing a row.

How the real exchange pages is not documented, so a listing can also be served in other ways, see
`ListingMode`; only the keyset one plays the page mishaps.
"""

import base64
import binascii
import hashlib
import itertools
import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from kalshi_fills.practice.faults import PageMishap

Place = tuple[int, str]
FIRST: Place = (-(2**63), "")
LAST: Place = (2**63, "")
AFTER_ANY_ID = "\U0010ffff"
"""Sorts after every id and, appended to one, just after that id."""


ListingMode = Literal["keyset", "bound", "offset", "oldest_first", "sharded", "unordered"]
"""How fills are listed.

`keyset`: newest first; a cursor names a place and is good with any filters.
`bound`: the same, but a cursor is refused with other filters than those it was given for.
`offset`: newest first; a cursor counts from the first row that the filters leave.
`oldest_first`, `sharded`, `unordered`: the same count, but the oldest first, one shard after the
other, or in no order at all.
"""


class Placed(Protocol):
    """A row that knows its place, oldest first."""

    @property
    def place(self) -> Place:
        """When, and what tells rows of one instant apart."""
        ...


@dataclass(slots=True)
class Page:
    """One page; an empty cursor says that it is the last."""

    rows: Sequence[int]
    """Indices into the listing, in the order served."""
    cursor: str


_RowT = TypeVar("_RowT", bound=Placed)


class Listing(Generic[_RowT]):
    """Rows kept oldest first and served newest first, by keyset."""

    def __init__(self, rows: Iterable[_RowT]) -> None:
        self.rows = sorted(rows, key=lambda row: row.place)
        self._fresh = itertools.count(1)

    def insert(self, row: _RowT) -> int:
        """Put a row at its place and return its index."""
        at = bisect_right(self.rows, row.place, key=lambda other: other.place)
        self.rows.insert(at, row)
        return at

    def _cursor(self, place: Place, *, fresh: bool = False) -> str:
        # The serial makes another text for the same place; it means nothing.
        text = json.dumps([*place, next(self._fresh) if fresh else 0], separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @staticmethod
    def _place(cursor: str | None) -> Place | None:
        """Return the place a cursor means; one that was never given out means the first page."""
        if not cursor:
            return None
        try:
            raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            at, tie, _serial = json.loads(raw)
        except (binascii.Error, ValueError, TypeError):
            return None
        return (at, tie) if isinstance(at, int) and isinstance(tie, str) else None

    def _down(
        self, top: int, low: int, limit: int, match: Callable[[_RowT], bool] | None
    ) -> tuple[Sequence[int], bool]:
        """Collect up to `limit` rows below `top`, newest first, and whether more follow."""
        if match is None:
            bottom = max(low, top - limit)
            return range(top - 1, bottom - 1, -1), bottom > low
        found: list[int] = []
        for index in range(top - 1, low - 1, -1):
            if match(self.rows[index]):
                if len(found) == limit:
                    return found, True
                found.append(index)
        return found, False

    def _above(self, top: int, high: int, limit: int, match: Callable[[_RowT], bool] | None) -> int:
        """Return how far up to go for the `limit` rows that were served before `top`."""
        if match is None:
            return min(high, top + limit)
        left = limit
        while top < high and left:
            left -= match(self.rows[top])
            top += 1
        return top

    def page(
        self,
        span: tuple[Place, Place],
        cursor: str | None,
        limit: int,
        match: Callable[[_RowT], bool] | None,
        draw: Callable[[Collection[PageMishap]], PageMishap | None] = lambda _: None,
    ) -> Page:
        """Return the page after `cursor` among the rows in the half-open `span`."""
        low, high = (bisect_left(self.rows, end, key=lambda row: row.place) for end in span)
        high = max(low, high)
        asked = self._place(cursor)
        top = high
        if asked is not None:
            top = min(max(bisect_left(self.rows, asked, key=lambda row: row.place), low), high)
        served, more = self._down(top, low, limit, match)
        possible: list[PageMishap] = ["empty_page"] if served else []
        if asked is not None and top < high:
            possible += ["repeat_page", "repeat_cursor"]
            if limit > 1:
                possible.append("overlap_page")
        if not more and low < high:
            possible.append("endless_cursors")
        mishap = draw(possible)
        # Where the client is now; the first page has no cursor, so its place is made up.
        here = asked if asked is not None else (self._start(high) if served else LAST)
        match mishap:
            case "empty_page":
                return Page([], self._cursor(here, fresh=True))
            case "repeat_page":
                above = self._above(top, high, limit, match)
                served, _ = self._down(above, top, limit, match)
                return Page(served, self._cursor(here, fresh=True))
            case "repeat_cursor":
                return Page(served, cursor or "")
            case "overlap_page":
                above = self._above(top, high, min(limit - 1, 1 + limit // 10), match)
                served, more = self._down(above, low, limit, match)
            case "endless_cursors":
                if not served:
                    above = self._above(top, high, limit, match)
                    served, _ = self._down(above, low, limit, match)
                if served:
                    last = self.rows[served[-1]].place
                    return Page(served, self._cursor(last, fresh=True))
        return Page(served, self._cursor(self.rows[served[-1]].place) if more else "")

    def page_by_offset(
        self,
        span: tuple[Place, Place],
        cursor: str | None,
        limit: int,
        match: Callable[[_RowT], bool] | None,
        order: Callable[[_RowT], object] | None,
    ) -> Page:
        """Return a page by a cursor that counts the rows in `span`.

        They are sorted by `order`, and newest first where that is None or makes no difference.
        """
        low, high = (bisect_left(self.rows, end, key=lambda row: row.place) for end in span)
        found = [
            index
            for index in range(high - 1, low - 1, -1)
            if match is None or match(self.rows[index])
        ]
        if order is not None:
            # Sorting keeps rows of one rank newest first.
            found.sort(key=lambda index: order(self.rows[index]))  # type: ignore[arg-type,return-value]  # ranks of one kind
        skipped = self._place(cursor)
        start = 0 if skipped is None else max(skipped[0], 0)
        following = start + limit
        more = following < len(found)
        return Page(found[start:following], self._cursor((following, "")) if more else "")

    def _start(self, high: int) -> Place:
        at, tie = self.rows[high - 1].place
        return at, tie + AFTER_ANY_ID


def bind_cursor(cursor: str, filters: str) -> str:
    """Return a cursor that is good with these filters only; an empty one stays empty."""
    return f"{cursor}.{_mark(filters)}" if cursor else ""


def unbind_cursor(cursor: str | None, filters: str) -> str | None:
    """Return what `bind_cursor` was given.

    Raises:
        ValueError: the cursor was given for other filters.
    """
    if not cursor:
        return cursor
    plain, _, mark = cursor.partition(".")
    if mark != _mark(filters):
        raise ValueError("a cursor of other filters")
    return plain


def _mark(filters: str) -> str:
    return hashlib.sha256(filters.encode()).hexdigest()[:16]
