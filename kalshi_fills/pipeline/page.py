"""A page of items to a batch of fills and the refused rest, with the counts of what they are.

What a fill is, `parse.read_item` alone decides. A plain fill of today is decoded by its type and
read column by column, at a fraction of the cost; wherever that leaves a doubt, `read_item` reads
the item.
"""

from __future__ import annotations

import contextlib
import re
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from itertools import compress
from operator import not_
from typing import Annotated, Final, Literal, NamedTuple, TypeGuard, TypeVar

import msgspec
from msgspec import Meta
from msgspec.structs import astuple

from kalshi_fills.pipeline.batch import (
    Batch,
    Flags,
    Terms,
    make_flags,
    make_terms,
)
from kalshi_fills.pipeline.content import flag_text, time_text
from kalshi_fills.pipeline.fills import (
    CLOCK_TOLERANCE,
    EARLIEST_FILL,
    ONE,
    OUTCOME_OF_BOOK,
    ZERO,
    Fill,
    Rejected,
    Stage,
)
from kalshi_fills.pipeline.parse import read_item
from kalshi_fills.pipeline.stages import Counts
from kalshi_fills.pipeline.values import EPOCH_SECONDS_END, read_instant

_EARLIEST_SECOND: Final = int(EARLIEST_FILL.timestamp())

_Id = Annotated[str, Meta(min_length=1, max_length=200)]
"""Three of these and an action are well within what `fills.gate` allows for all together."""

_Byte = Annotated[int, Meta(ge=0, le=255)]

_TERMS_KEPT: Final = 1 << 15

_DIGITS: Final = bytes.maketrans(b"123456789", b"0" * 9)

_EVEN_SHAPE: Final = {b"0000-00-00T00:00:00.000000Z"}

_EVEN_LETTERS: Final = len("2026-11-20T14:31:09.000000Z")

_UNEVEN: Final = re.compile(r"(.{19})(?:\.([0-9]{1,9}))?Z", re.ASCII).fullmatch

_GOOD_PRICE: Final = re.compile(r"0\.[0-9]{1,6}", re.ASCII).fullmatch

_GOOD_CONTRACTS: Final = re.compile(r"[0-9]{1,16}(?:\.[0-9]{1,2})?", re.ASCII).fullmatch

_GOOD_FEE: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,6})?", re.ASCII).fullmatch

_FEE_AS_STORED: Final = re.compile(r"(?:0|[1-9][0-9]{0,11})\.[0-9]{6}", re.ASCII).fullmatch

_Kind = tuple[str, str, str, str, str]
"""What terms follow from: price of yes, price of no, outcome, book side and action, as sent."""

T = TypeVar("T")


class _PlainFill(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A fill as the exchange sends it today, with or without the keys that it may leave out.

    No value is coerced: an item with another key or another type of value is no plain fill.
    """

    fill_id: _Id
    order_id: _Id
    ticker: _Id
    created_time: str
    count_fp: str
    yes_price_dollars: str
    no_price_dollars: str
    outcome_side: Literal["yes", "no"]
    book_side: Literal["bid", "ask"]
    action: Annotated[str, Meta(max_length=100)] = ""
    fee_cost: str | None = None
    is_taker: bool | None = None
    subaccount_number: _Byte | None = None
    exchange_index: _Byte | None = None
    trade_id: str | None = None
    market_ticker: str | None = None
    side: Literal["yes", "no"] | None = None
    ts: Annotated[int, Meta(gt=_EARLIEST_SECOND, lt=EPOCH_SECONDS_END)] | None = None


_decode_plain: Final = msgspec.json.Decoder(_PlainFill).decode


class PageOutcome(NamedTuple):
    """What the items of a page are."""

    batch: Batch
    """The fills; the same one may be there twice."""
    rejected: list[Rejected]


def read_page(items: Sequence[str], source: str, now: datetime, counts: Counts) -> PageOutcome:
    """Return which items are fills and which are refused, and count them.

    Args:
        items: the JSON text of each item.
        source: the tier they came from.
        now: the clock against which event times are gated, aware UTC.
        counts: the counts of the pass, which are added to.
    """
    batch, others = _read_plain(items, source, now)
    rejected: list[Rejected] = []
    for text in others:
        read = read_item(text, source, now)
        if isinstance(read, Fill):
            batch.add(read)
        else:
            rejected.append(read)
    passed = len(batch)
    refused = dict.fromkeys(Stage, 0)
    for refusal in rejected:
        refused[refusal.stage] += 1
    counts.n_gated += passed
    counts.n_valid += passed + refused[Stage.GATED]
    counts.n_real += passed + refused[Stage.GATED] + refused[Stage.VALID]
    counts.n_raw += passed + len(rejected) - refused[Stage.RAW]
    counts.n_api += passed + len(rejected)
    counts.n_rejected += len(rejected)
    return PageOutcome(batch, rejected)


def _read_plain(items: Sequence[str], source: str, now: datetime) -> tuple[Batch, list[str]]:
    """Return the plain fills among items, and the texts of all others."""
    decoded, texts, others = _decode(items)
    if not decoded:
        return Batch(), others
    (
        fill_ids,
        order_ids,
        tickers,
        created,
        counts,
        yes_prices,
        no_prices,
        outcomes,
        books,
        actions,
        fees,
        takers,
        subaccounts,
        shards,
        *_,
    ) = zip(*map(astuple, decoded), strict=True)
    times = _time_texts(created, now)
    kinds = list(zip(yes_prices, no_prices, outcomes, books, actions, strict=True))
    terms = _terms(kinds)
    sizes = list(map(_size, counts))
    charged = list(map(_fee, fees))
    if not (
        _is_certain(times) and _is_certain(terms) and _is_certain(sizes) and _is_certain(charged)
    ):
        uncertain = [None in row for row in zip(times, terms, sizes, charged, strict=True)]
        others += compress(texts, uncertain)
        batch, more = _read_plain(list(compress(texts, map(not_, uncertain))), source, now)
        return batch, others + more
    batch = Batch(
        times,
        list(fill_ids),
        list(order_ids),
        list(tickers),
        terms,
        sizes,
        charged,
        list(map(_flags, takers, subaccounts, shards)),
        [""] * len(texts),
        [source] * len(texts),
        texts,
    )
    batch.hash_plain()
    return batch, others


def _decode(items: Sequence[str]) -> tuple[list[_PlainFill], list[str], list[str]]:
    """Return the items that are plain fills by their types, their texts, and those of all others.

    A text that may need an escape anywhere is none: what follows relies on plain ASCII.
    """
    if all(map(str.isascii, items)) and not any("\\" in text for text in items):
        with contextlib.suppress(msgspec.MsgspecError, RecursionError):
            return list(map(_decode_plain, items)), list(items), []
    decoded: list[_PlainFill] = []
    texts: list[str] = []
    others: list[str] = []
    for text in items:
        try:
            if not text.isascii() or "\\" in text:
                raise msgspec.DecodeError
            decoded.append(_decode_plain(text))
            texts.append(text)
        except (msgspec.MsgspecError, RecursionError):
            others.append(text)
    return decoded, texts, others


def _is_certain(column: list[T | None]) -> TypeGuard[list[T]]:
    """Return whether every value of a column is known without `read_item`."""
    return None not in column


def _time_texts(created: Sequence[str], now: datetime) -> list[str | None]:
    """Return event times as texts of the table; None for one that `read_item` must decide on."""
    earliest, latest = time_text(EARLIEST_FILL), time_text(now + CLOCK_TOLERANCE)
    even = [text if len(text) == _EVEN_LETTERS else _to_microseconds(text) for text in created]
    joined = "\n".join(even)
    if set(joined.encode().translate(_DIGITS).split(b"\n")) == _EVEN_SHAPE and "T24" not in joined:
        with contextlib.suppress(ValueError):
            deque(map(datetime.fromisoformat, even), maxlen=0)  # no such day, hour or minute
            texts = joined.replace("T", " ").replace("Z", "").split("\n")
            if earliest < min(texts) and max(texts) <= latest:
                return [*texts]
    moments = map(read_instant, created)
    times = [None if moment is None else time_text(moment) for moment in moments]
    return [text if text and earliest < text <= latest else None for text in times]


def _to_microseconds(text: str) -> str:
    """Return a time with six decimals of a second, as the exchange leaves out zeros at the end."""
    match = _UNEVEN(text)
    if match is None:
        return text
    return f"{match[1]}.{(match[2] or '').ljust(6, '0')[:6]}Z"


def _terms(kinds: Sequence[_Kind]) -> list[Terms | None]:
    """Return the terms of each fill; None for one that `read_item` must decide on."""
    found = [_known_terms.get(kind) for kind in kinds]
    if None not in found:
        return found
    if len(_known_terms) > _TERMS_KEPT:
        _known_terms.clear()
    for place, kind in enumerate(kinds):
        if found[place] is None:
            found[place] = _known_terms.get(kind) or _new_terms(kind)
    return found


def _new_terms(kind: _Kind) -> Terms | None:
    yes_text, no_text, outcome, book, action = kind
    if not (_GOOD_PRICE(yes_text) and _GOOD_PRICE(no_text)) or OUTCOME_OF_BOOK[book] != outcome:
        return None
    yes, no = Decimal(yes_text), Decimal(no_text)
    if not ZERO < yes < ONE or yes + no != ONE:
        return None
    cents = f"{(yes if outcome == 'yes' else no) * 100:.4f}"
    terms = make_terms(outcome, action, outcome, book, cents, f"{yes:.6f}", f"{no:.6f}")
    _known_terms[kind] = terms
    return terms


_known_terms: Final[dict[_Kind, Terms]] = {}


@lru_cache(1 << 14)
def _size(count: str) -> str | None:
    number = Decimal(count) if _GOOD_CONTRACTS(count) else ZERO
    return f"{number:.2f}" if number else None


@lru_cache(1 << 14)
def _fee(fee: str | None) -> str | None:
    if fee is None:
        return ""
    if _FEE_AS_STORED(fee):
        return fee
    return f"{Decimal(fee):.6f}" if _GOOD_FEE(fee) else None


@lru_cache(1 << 12)
def _flags(is_taker: bool | None, subaccount: int | None, shard: int | None) -> Flags:
    number_texts = ["" if number is None else str(number) for number in (subaccount, shard)]
    return make_flags(flag_text(is_taker), *number_texts, flag_text(False), flag_text(False))
