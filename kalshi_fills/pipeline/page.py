"""A page of items to a batch of fills and the refused rest, with the counts of what they are.

What a fill is, `parse.read_item` alone decides. A plain fill of today is decoded by its type and
read column by column, at a fraction of the cost; wherever that leaves a doubt, `read_item` reads
the item.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from kalshi_fills.pipeline.batch import FLAGS, TERMS, Batch, Shared, make_shared
from kalshi_fills.pipeline.content import flag_text, flags_texts, terms_texts, time_text
from kalshi_fills.pipeline.fills import (
    CLOCK_TOLERANCE,
    EARLIEST_FILL,
    ONE,
    OUTCOME_OF_BOOK,
    Fill,
    Rejected,
    Stage,
    fault_of_fee,
    fault_of_prices,
    fault_of_quantity,
)
from kalshi_fills.pipeline.parse import read_item
from kalshi_fills.pipeline.stages import Counts
from kalshi_fills.pipeline.values import EPOCH_SECONDS_END, read_decimal, read_instant

_EARLIEST_SECOND: Final = int(EARLIEST_FILL.timestamp())

_Id = Annotated[str, Meta(min_length=1, max_length=200)]
"""Three of these and an action are well within what `fills.gate` allows for all together."""

_Byte = Annotated[int, Meta(ge=0, le=255)]

_DOUBT: Final = "?"
"""What stands in a column for a value that `read_item` must decide on."""

_DOUBTFUL_TERMS: Final = make_shared(TERMS, *[_DOUBT] * len(TERMS))

_DIGITS: Final = bytes.maketrans(b"123456789", b"0" * 9)

_EVEN: Final = b"0000-00-00T00:00:00.000000Z"

_SIZE_AS_STORED: Final = re.compile(r"[1-9][0-9]{0,15}\.[0-9]{2}", re.ASCII).fullmatch

_FEE_AS_STORED: Final = re.compile(r"(?:0|[1-9][0-9]{0,11})\.[0-9]{6}", re.ASCII).fullmatch


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
    plain: list[_PlainFill] = []
    texts: list[str] = []
    others: list[str] = []
    for text in items:
        try:
            if not text.isascii() or "\\" in text:  # else bytes could be more than letters
                raise msgspec.DecodeError
            plain.append(_decode_plain(text))
            texts.append(text)
        except (msgspec.MsgspecError, RecursionError):
            others.append(text)
    batch = Batch(
        _times([one.created_time for one in plain], now),
        [one.fill_id for one in plain],
        [one.order_id for one in plain],
        [one.ticker for one in plain],
        [
            _terms(
                one.yes_price_dollars,
                one.no_price_dollars,
                one.outcome_side,
                one.book_side,
                one.action,
            )
            for one in plain
        ],
        [_size(one.count_fp) for one in plain],
        [_fee(one.fee_cost) for one in plain],
        [_flags(one.is_taker, one.subaccount_number, one.exchange_index) for one in plain],
        [flag_text(False)] * len(plain),
        [""] * len(plain),
        [source] * len(plain),
        texts,
    )
    batch.hash_plain()
    doubtful = {
        *_positions(_DOUBT, batch.ts),
        *_positions(_DOUBTFUL_TERMS, batch.terms),
        *_positions(_DOUBT, batch.size),
        *_positions(_DOUBT, batch.fee_dollars),
    }
    if doubtful:
        others += [texts[position] for position in sorted(doubtful)]
        batch = batch.without(doubtful)
    return batch, others


def _positions(value: object, column: Sequence[object]) -> list[int]:
    """Return where a value stands in a column."""
    if value not in column:
        return []
    return [position for position, one in enumerate(column) if one == value]


def _times(created: Sequence[str], now: datetime) -> list[str]:
    """Return event times as texts of the table, or the mark of a doubt."""
    earliest, latest = time_text(EARLIEST_FILL), time_text(now + CLOCK_TOLERANCE)
    # The exchange leaves out zeros at the end of a fraction, which has at least one digit.
    even = [
        one[:-1].ljust(len(_EVEN) - 1, "0") + one[-1] if 22 <= len(one) < len(_EVEN) else one
        for one in created
    ]
    joined = "\n".join(even)
    if set(joined.encode().translate(_DIGITS).split(b"\n")) == {_EVEN}:
        with contextlib.suppress(msgspec.ValidationError):
            msgspec.convert(even, list[datetime])  # no such day, hour or minute
            texts = joined.replace("T", " ").replace("Z", "").split("\n")
            if earliest < min(texts) and max(texts) <= latest:
                return texts
    moments = map(read_instant, created)
    texts = ["" if moment is None else time_text(moment) for moment in moments]
    return [text if earliest < text <= latest else _DOUBT for text in texts]


@lru_cache(1 << 15)
def _terms(yes_text: str, no_text: str, outcome: str, book: str, action: str) -> Shared:
    yes, no = read_decimal(yes_text), read_decimal(no_text)
    if yes is None or no is None or yes + no != ONE or fault_of_prices(yes, no):
        return _DOUBTFUL_TERMS
    if OUTCOME_OF_BOOK[book] != outcome:
        return _DOUBTFUL_TERMS
    return make_shared(TERMS, *terms_texts(outcome, action, yes, no))


@lru_cache(1 << 14)
def _size(count: str) -> str:
    if _SIZE_AS_STORED(count):
        return count
    number = read_decimal(count)
    return _DOUBT if number is None or fault_of_quantity(number) else f"{number:.2f}"


@lru_cache(1 << 14)
def _fee(fee: str | None) -> str:
    if fee is None:
        return ""
    if _FEE_AS_STORED(fee):
        return fee
    number = read_decimal(fee)
    return _DOUBT if number is None or fault_of_fee(number) else f"{number:.6f}"


@lru_cache(1 << 12)
def _flags(is_taker: bool | None, subaccount: int | None, shard: int | None) -> Shared:
    return make_shared(FLAGS, *flags_texts(is_taker, subaccount, shard, is_inferred=False))
