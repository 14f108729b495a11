"""A walk through a listing: its cursors, what was seen of it, and when it must end.

Nothing is asked of the exchange here. A walk is over on an empty cursor only; a cursor that comes
back, or pages without end that have nothing new, are an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kalshi_fills.exchange.decode import UnknownPaging, decode_listing

PAGE_LIMIT: Final = 1000
"""Items a page; the exchange refuses more."""

_MOST_STALE_PAGES: Final = 20

_SEEN_HASHES: Final = 1 << 22


class Walk:
    """One walk from the first page to the last, with the same filters on every page.

    Args:
        filters: the query without paging.
        name: the key of the list in the answer.
    """

    def __init__(self, filters: Mapping[str, str], name: str) -> None:
        self.is_over = False
        """True once the last page was taken."""
        self._filters = filters
        self._name = name
        self._cursor = ""
        self._cursors: set[int] = set()  # by hash: one may be long
        self._seen = SeenItems()
        self._stale_pages = 0

    def query(self) -> dict[str, str]:
        """Return the query of the next page."""
        query = {**self._filters, "limit": str(PAGE_LIMIT)}
        if self._cursor:
            query["cursor"] = self._cursor
        return query

    def decode(self, text: str) -> tuple[list[str], str]:
        """Return the items of a page and the cursor of the one that follows it.

        Raises:
            UnknownPaging: the cursor came before, or there was nothing new for too many pages.
            ValueError: it is no such page.
        """
        items, following = decode_listing(text, self._name)
        if following and hash(following) in self._cursors:
            raise UnknownPaging("gave back a cursor it had given before")
        if following and self._stale_pages >= _MOST_STALE_PAGES and not self._seen.lacks_any(items):
            raise UnknownPaging(
                f"sent more than {_MOST_STALE_PAGES} pages in a row with nothing new"
            )
        return items, following

    def take(self, items: list[str], following: str) -> None:
        """Go on to the page after a decoded one."""
        self._stale_pages = 0 if self._seen.add(items) else self._stale_pages + 1
        self._cursor = following
        self._cursors.add(hash(following))
        self.is_over = not following


class SeenItems:
    """Which items a walk has seen, in four megabytes: one byte for each hash of 22 bits.

    Two items may have the same hash, so that a new one may count as seen. That a page, let alone
    twenty in a row, counts as seen in this way is out of the question.
    """

    def __init__(self) -> None:
        self._seen = bytearray(_SEEN_HASHES)

    def lacks_any(self, items: list[str]) -> bool:
        """Return whether an item was not seen before."""
        return not all(self._seen[hash(item) % _SEEN_HASHES] for item in items)

    def add(self, items: list[str]) -> bool:
        """Add the items; return whether one of them was new."""
        new = self.lacks_any(items)
        seen = self._seen
        for item in items:
            seen[hash(item) % _SEEN_HASHES] = 1
        return new
