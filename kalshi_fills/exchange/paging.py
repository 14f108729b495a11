"""A walk through a listing: what was seen of it."""

from __future__ import annotations

from typing import Final

from kalshi_fills.exchange.decode import Item

_NOVELTY_BITS: Final = 1 << 25


class Novelty:
    """Which items a walk has seen, in a fixed few megabytes.

    One bit an item. Two items may share a bit, so that a new one may count as seen; for a page, let
    alone for twenty in a row, to count as seen that way is out of the question.
    """

    def __init__(self) -> None:
        self._bits = bytearray(_NOVELTY_BITS >> 3)

    def any_new(self, items: list[Item]) -> bool:
        """Say whether an item was not seen before."""
        bits = self._bits
        for item in items:
            bit = hash(item.text) % _NOVELTY_BITS
            if not bits[bit >> 3] & (1 << (bit & 7)):
                return True
        return False

    def take(self, items: list[Item]) -> bool:
        """Remember the items; say whether there was a new one among them."""
        bits = self._bits
        new = False
        for item in items:
            bit = hash(item.text) % _NOVELTY_BITS
            mask = 1 << (bit & 7)
            if not bits[bit >> 3] & mask:
                bits[bit >> 3] |= mask
                new = True
        return new
