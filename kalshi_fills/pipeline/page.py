"""A page of items to a batch of fills and the refused rest, with the counts of what they are.

What a fill is, `parse.read_item` alone decides. A plain fill of today is decoded by its type and
read column by column, at a fraction of the cost; wherever that leaves a doubt, `read_item` reads
the item.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from kalshi_fills.pipeline.batch import FLAGS, TERMS, Batch, Shared, make_shared
from kalshi_fills.pipeline.content import flags_texts, terms_texts, time_text
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

_Id = Annotated[str, Meta(min_length=1, max_length=200)]
"""Three of these and an action are well within what `fills.gate` allows for all together."""

_Byte = Annotated[int, Meta(ge=0, le=255)]

_DIGITS: Final = bytes.maketrans(b"123456789", b"0" * 9)

_EVEN: Final = b"0000-00-00T00:00:00.000000Z"

_SHORTENED: Final = frozenset({20, *range(22, len(_EVEN))})
"""The lengths of a time with less than six digits of a second's fraction, or none."""

_SIZE_AS_STORED: Final = re.compile(r"[1-9][0-9]{0,15}\.[0-9]{2}", re.ASCII).fullmatch

_FEE_AS_STORED: Final = re.compile(r"(?:0|[1-9][0-9]{0,11})\.[0-9]{6}", re.ASCII).fullmatch


class _Doubt(Exception):
    """A value that only `read_item` can judge."""


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
    ts: Annotated[int, Meta(gt=int(EARLIEST_FILL.timestamp()), lt=EPOCH_SECONDS_END)] | None = None


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
    read = [read_item(text, source, now) for text in others]
    batch.extend(Batch.of(one for one in read if isinstance(one, Fill)))
    rejected = [one for one in read if isinstance(one, Rejected)]
    passed, refused = len(batch), Counter(one.stage for one in rejected)
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
                raise _Doubt
            plain.append(_decode_plain(text))
            texts.append(text)
        except (_Doubt, msgspec.MsgspecError, RecursionError):
            others.append(text)
    batch, doubtful = _batch_of(plain, texts, source, now)
    return batch, others + doubtful


def _batch_of(
    plain: Sequence[_PlainFill], texts: list[str], source: str, now: datetime
) -> tuple[Batch, list[str]]:
    """Return plain fills as a batch, and the texts of those that are in doubt."""
    try:
        batch = Batch(
            _times([f.created_time for f in plain], now),
            [f.fill_id for f in plain],
            [f.order_id for f in plain],
            [f.ticker for f in plain],
            [
                _terms(
                    f.yes_price_dollars, f.no_price_dollars, f.outcome_side, f.book_side, f.action
                )
                for f in plain
            ],
            [_size(f.count_fp) for f in plain],
            [_fee(f.fee_cost) for f in plain],
            [_flags(f.is_taker, f.subaccount_number, f.exchange_index) for f in plain],
            ["false"] * len(plain),  # no id is made up
            [""] * len(plain),  # today's fills have no client order id
            [source] * len(plain),
            texts,
        )
    except _Doubt:
        if len(plain) == 1:
            return Batch(), texts
        middle = len(plain) // 2
        batch, doubtful = _batch_of(plain[:middle], texts[:middle], source, now)
        more, more_doubtful = _batch_of(plain[middle:], texts[middle:], source, now)
        batch.extend(more)
        return batch, doubtful + more_doubtful
    batch.hash_plain()
    return batch, []


def _times(created: Sequence[str], now: datetime) -> list[str]:
    """Return event times as texts of the table."""
    latest = time_text(now + CLOCK_TOLERANCE)
    # The exchange leaves out zeros at the end of a fraction, and a fraction of nothing.
    even = [
        one[:-1].ljust(20, ".").ljust(26, "0") + one[-1] if len(one) in _SHORTENED else one
        for one in created
    ]
    joined = "\n".join(even)
    texts = joined.replace("T", " ").replace("Z", "").split("\n")
    try:
        msgspec.convert(even, list[datetime])  # there may be no such day, hour or minute
        is_even = set(joined.encode().translate(_DIGITS).split(b"\n")) == {_EVEN}
    except msgspec.ValidationError:
        is_even = False
    if not is_even:
        texts = [time_text(read_instant(text) or EARLIEST_FILL) for text in created]
    if texts and not (time_text(EARLIEST_FILL) < min(texts) and max(texts) <= latest):
        raise _Doubt
    return texts


@lru_cache(1 << 15)
def _terms(yes_text: str, no_text: str, outcome: str, book: str, action: str) -> Shared:
    yes, no = read_decimal(yes_text), read_decimal(no_text)
    if yes is None or no is None or yes + no != ONE or fault_of_prices(yes, no):
        raise _Doubt
    if OUTCOME_OF_BOOK[book] != outcome:
        raise _Doubt
    return make_shared(TERMS, *terms_texts(outcome, action, yes, no))


@lru_cache(1 << 14)
def _size(count: str) -> str:
    if _SIZE_AS_STORED(count):
        return count
    number = read_decimal(count)
    if number is None or fault_of_quantity(number):
        raise _Doubt
    return f"{number:.2f}"


@lru_cache(1 << 14)
def _fee(fee: str | None) -> str:
    if fee is None or _FEE_AS_STORED(fee):
        return fee or ""
    number = read_decimal(fee)
    if number is None or fault_of_fee(number):
        raise _Doubt
    return f"{number:.6f}"


@lru_cache(1 << 12)
def _flags(is_taker: bool | None, subaccount: int | None, shard: int | None) -> Shared:
    return make_shared(FLAGS, *flags_texts(is_taker, subaccount, shard, is_inferred=False))
