"""Fills as columns of canonical texts: what is de-duplicated, digested, compared and written.

A batch is made once of what the exchange sent. A `Fill` is made of one of its rows where that row
needs a closer look.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from operator import attrgetter
from typing import Final, NamedTuple, Self

from xxhash import xxh64_intdigest

from kalshi_fills.pipeline.content import counted, digest, key_hash, time_text
from kalshi_fills.pipeline.fills import Content, Fill, FillKey
from kalshi_fills.pipeline.window import Window

UNIT_SEPARATOR: Final = "\x1f"
"""What separates texts that are written as one, unless a text of the batch has it in it."""

TERMS: Final = tuple(
    "side action outcome_side book_side price_cents yes_price_dollars no_price_dollars".split()
)
"""What fills of a market mostly share of their contents."""

FLAGS: Final = tuple("is_taker subaccount_number exchange_index direction_inferred".split())
"""What nearly all fills of an account share of their contents."""

_DERIVED: Final = frozenset("outcome_side book_side price_cents no_price_dollars".split())
"""What the engine makes of other columns."""


class Shared(NamedTuple):
    """Texts that the contents of many fills share, made once for all of them."""

    texts: tuple[str, ...]
    counted: str
    """The same as they are digested."""
    written: tuple[str, ...]
    """Those that are written."""
    joined: str
    """The same as one text, with the usual separator."""


@lru_cache(1 << 13)
def make_shared(names: tuple[str, ...], *texts: str) -> Shared:
    """Return texts of a content, ready to be digested and written.

    Args:
        names: `TERMS` or `FLAGS`.
        texts: one for each name.
    """
    written = tuple(text for name, text in zip(names, texts, strict=True) if name not in _DERIVED)
    return Shared(texts, counted(*texts), written, UNIT_SEPARATOR.join(written))


@dataclass(slots=True)
class Batch:
    """Fills, one row each; every attribute is a column of the same length."""

    ts: list[str] = field(default_factory=list)
    """Event time, such as `2026-11-20 14:31:09.000000`."""
    fill_id: list[str] = field(default_factory=list)
    exchange_order_id: list[str] = field(default_factory=list)
    market_ticker: list[str] = field(default_factory=list)
    terms: list[Shared] = field(default_factory=list)
    size: list[str] = field(default_factory=list)
    fee_dollars: list[str] = field(default_factory=list)
    """Empty where not known."""
    flags: list[Shared] = field(default_factory=list)
    id_synthetic: list[str] = field(default_factory=list)
    """`true` where the id is a digest of the content."""
    client_order_id: list[str] = field(default_factory=list)
    source: list[str] = field(default_factory=list)
    """The tier each came from."""
    raw_json: list[str] = field(default_factory=list)
    """The text of each item, as it came."""
    key_hash: list[int] = field(default_factory=list)
    """64 bits of each identity."""
    digest: list[int] = field(default_factory=list)
    """64 bits of each content."""

    @classmethod
    def of(cls, fills: Iterable[Fill]) -> Self:
        """Return a batch of fills."""
        batch = cls()
        for fill in fills:
            batch.add(fill)
        return batch

    def __len__(self) -> int:
        return len(self.ts)

    @property
    def subaccounts(self) -> set[str]:
        """The subaccounts of the fills, each as its text."""
        place = FLAGS.index("subaccount_number")
        return {flags.texts[place] for flags in self.flags}

    @property
    def columns(self) -> Sequence[list[object]]:
        """The columns, in the order of the attributes."""
        return [getattr(self, name) for name in _COLUMNS]

    def add(self, fill: Fill) -> None:
        """Add a row for a fill."""
        texts = fill.content
        terms = make_shared(TERMS, *attrgetter(*TERMS)(texts))
        flags = make_shared(FLAGS, *attrgetter(*FLAGS)(texts))
        ids, amounts = (*fill.key, texts.market_ticker), (texts.size, texts.fee_dollars)
        beside, hashes = fill[1:], (key_hash(*fill.key), digest(texts))
        row = (texts.ts, *ids, terms, *amounts, flags, *beside, *hashes)
        for column, value in zip(self.columns, row, strict=True):
            column.append(value)

    def within(self, window: Window) -> Batch:
        """Return the rows whose event time a window holds."""
        since = "" if window.start is None else time_text(window.start)
        end = time_text(window.end)
        if not self.ts or (since <= min(self.ts) and max(self.ts) < end):
            return self
        return self.at(place for place, ts in enumerate(self.ts) if since <= ts < end)

    def hash_plain(self) -> None:
        """Compute identities and digests; all texts must be ASCII."""
        self.key_hash = list(map(key_hash, self.fill_id, self.exchange_order_id))
        ids = zip(self.ts, self.fill_id, self.exchange_order_id, self.market_ticker, strict=True)
        rest = zip(self.terms, self.size, self.fee_dollars, self.flags, strict=True)
        self.digest = [
            xxh64_intdigest(
                f"{len(ts)}:{ts}{len(fill)}:{fill}{len(order)}:{order}{len(ticker)}:{ticker}"
                f"{terms.counted}{len(size)}:{size}{len(fee)}:{fee}{flags.counted}".encode()
            )
            for (ts, fill, order, ticker), (terms, size, fee, flags) in zip(ids, rest, strict=True)
        ]

    def extend(self, other: Batch) -> None:
        """Add the rows of another batch."""
        for column, values in zip(self.columns, other.columns, strict=True):
            column += values

    def at(self, positions: Iterable[int]) -> Batch:
        """Return the rows at these positions, in their order."""
        places = list(positions)
        picked = Batch()
        for name, column in zip(_COLUMNS, self.columns, strict=True):
            setattr(picked, name, [column[place] for place in places])
        return picked

    def without(self, positions: Container[int]) -> Batch:
        """Return the rows at all other positions."""
        return self.at(place for place in range(len(self)) if place not in positions)

    def key(self, position: int) -> FillKey:
        """Return the identity of one row."""
        return FillKey(self.fill_id[position], self.exchange_order_id[position])

    def fill(self, position: int) -> Fill:
        """Return one row as a fill."""
        ids = self.ts[position], *self.key(position), self.market_ticker[position]
        terms, flags = self.terms[position].texts, self.flags[position].texts
        content = (*ids, *terms, self.size[position], self.fee_dollars[position], *flags)
        beside = (self.id_synthetic, self.client_order_id, self.source, self.raw_json)
        return Fill(Content._make(content), *(column[position] for column in beside))

    def fills(self) -> Iterator[Fill]:
        """Yield each row as a fill."""
        return map(self.fill, range(len(self)))


_COLUMNS: Final = tuple(one.name for one in fields(Batch))
