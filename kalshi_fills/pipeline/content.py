"""A fill's content as named texts: digest, differences, which of two reports to prefer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache, partial
from typing import Final, NamedTuple

import xxhash

from kalshi_fills.pipeline.fills import Fill, FillKey, book_side, side_price_dollars


class Content(NamedTuple):
    """A fill's content as texts, by the columns of the table; empty where not known.

    Two rows whose contents are equal are the same fill, reported alike.
    """

    ts: str
    fill_id: str
    exchange_order_id: str
    market_ticker: str
    side: str
    action: str
    outcome_side: str
    book_side: str
    price_cents: str
    yes_price_dollars: str
    no_price_dollars: str
    size: str
    fee_dollars: str
    is_taker: str
    subaccount_number: str
    exchange_index: str
    direction_inferred: str


CONTENT_FIELDS: Final = Content._fields
"""The columns of a content, in the order in which they are digested."""

_WHOLE_SECOND: Final = ".000000"

_SECOND_LETTERS: Final = len("2026-11-20 14:31:09")

_FLAG_TEXTS: Final = {None: "", True: "true", False: "false"}

_as_content: Final = partial(tuple.__new__, Content)
"""`Content._make` at a third of the cost: it trusts the number of texts."""


def content(fill: Fill) -> Content:
    """Return a fill's content, as `queries/fragments/content_texts.sql` reads it from a row."""
    return contents([fill])[0]


def contents(fills: Sequence[Fill]) -> list[Content]:
    """Return the contents of fills, in their order; many at once take half as long each."""
    if not fills:
        return []
    columns = dict(zip(Fill._fields, zip(*fills, strict=True), strict=True))
    outcome = columns["outcome"]
    texts = {
        "ts": [moment.isoformat(" ", "microseconds")[:26] for moment in columns["executed_at"]],
        "fill_id": columns["fill_id"],
        "exchange_order_id": columns["order_id"],
        "market_ticker": columns["ticker"],
        "side": outcome,
        "action": columns["action"],
        "outcome_side": outcome,
        "book_side": map(book_side, outcome),
        "price_cents": [_cents_text(side_price_dollars(fill)) for fill in fills],
        "yes_price_dollars": map(_dollars_text, columns["yes_price_dollars"]),
        "no_price_dollars": map(_dollars_text, columns["no_price_dollars"]),
        "size": map(_contracts_text, columns["contracts"]),
        "fee_dollars": map(_fee_text, columns["fee_dollars"]),
        "is_taker": map(_FLAG_TEXTS.__getitem__, columns["is_taker"]),
        "subaccount_number": map(_small_text, columns["subaccount_number"]),
        "exchange_index": map(_small_text, columns["exchange_index"]),
        "direction_inferred": map(_FLAG_TEXTS.__getitem__, columns["direction_inferred"]),
    }
    return list(map(_as_content, zip(*[texts[name] for name in CONTENT_FIELDS], strict=True)))


def time_of(content: Content) -> datetime:
    """Return the event time of a content, aware UTC."""
    return datetime.fromisoformat(content.ts).replace(tzinfo=UTC)


def _time_text(moment: datetime) -> str:
    return moment.isoformat(" ", "microseconds")[:26]


def _is_cut_to_second(text: str, other: str) -> bool:
    """Return whether a time is another one without its fraction: `ts` beside `created_time`."""
    return (
        text != other
        and text.endswith(_WHOLE_SECOND)
        and text[:_SECOND_LETTERS] == other[:_SECOND_LETTERS]
    )


@lru_cache(1 << 14)
def _cents_text(dollars: Decimal) -> str:
    return f"{dollars * 100:.4f}"


@lru_cache(1 << 14)
def _dollars_text(dollars: Decimal) -> str:
    return f"{dollars:.6f}"


@lru_cache(1 << 14)
def _contracts_text(contracts: Decimal) -> str:
    return f"{contracts:.2f}"


@lru_cache(1 << 14)
def _fee_text(dollars: Decimal | None) -> str:
    return "" if dollars is None else f"{dollars:.6f}"


@lru_cache
def _small_text(number: int | None) -> str:
    return "" if number is None else str(number)


def digest(content: Content) -> int:
    """Return 64 bits of a content, equal to the table's own digest of the same row."""
    ts, fill_id, order_id = content.ts, content.fill_id, content.exchange_order_id
    ticker = content.market_ticker
    ids = f"{len(ts)}:{ts}{len(fill_id)}:{fill_id}{len(order_id)}:{order_id}{len(ticker)}:{ticker}"
    if not ids.isascii():
        ids = _counted(ts, fill_id, order_id, ticker)
    price = _counted_before(
        content.side,
        content.action,
        content.outcome_side,
        content.book_side,
        content.price_cents,
        content.yes_price_dollars,
        content.no_price_dollars,
    )
    size, fee = content.size, content.fee_dollars
    numbers = f"{len(size)}:{size}{len(fee)}:{fee}"
    rest = _counted_before(
        content.is_taker,
        content.subaccount_number,
        content.exchange_index,
        content.direction_inferred,
    )
    joined = f"{ids}{price}{numbers}{rest}"
    return xxhash.xxh64_intdigest(joined.encode())


def _counted(*texts: str) -> str:
    """Join texts, each after its length, so that no two lists of texts are joined alike."""
    joined = "".join([f"{len(text)}:{text}" for text in texts])
    if not joined.isascii():  # the table counts bytes
        joined = "".join([f"{len(text.encode())}:{text}" for text in texts])
    return joined


_counted_before: Final = lru_cache(1 << 12)(_counted)
"""The same for texts that are few: side and prices, and what follows the fee."""


def key_hash(key: FillKey) -> int:
    """Return 64 bits of a fill's identity."""
    return xxhash.xxh64_intdigest(f"{len(key.fill_id)}:{key.fill_id}{key.order_id}".encode())


class Difference(NamedTuple):
    """One field in which a stored row and the exchange disagree."""

    field: str
    stored: str
    reported: str
    """What the exchange reports."""


def differences(stored: Content, reported: Content) -> list[Difference]:
    """Return the fields in which the exchange contradicts, or knows more than, a stored row.

    A field that the exchange left out this time (an archived fill lacks the newer ones) is no
    difference; nor is a direction that had to be inferred and is the same as the confirmed one,
    nor a time of whole seconds beside a finer one of the same second.
    """
    found = []
    for name, before, now in zip(CONTENT_FIELDS, stored, reported, strict=True):
        if before == now or now == "":
            continue
        if name == "direction_inferred" and now == "true":
            continue
        if name == "ts" and _is_cut_to_second(now, before):
            continue
        found.append(Difference(name, before, now))
    return found


def contradictions(stored: Content, reported: Content) -> list[Difference]:
    """Return the differences in fields that both sides know equally well, and disagree on."""
    return [
        found
        for found in differences(stored, reported)
        if found.stored != ""
        and found.field != "direction_inferred"
        and not (found.field == "ts" and _is_cut_to_second(found.stored, found.reported))
    ]


def prefer(one: Fill, other: Fill) -> Fill:
    """Return the one of two reports of the same fill that knows more.

    Of two that know as much, the choice depends on their contents only, not on their order.
    """

    def rank(fill: Fill) -> tuple[int, bool, bool, Content]:
        texts = content(fill)
        known = sum(map(bool, texts))
        return (known, not fill.direction_inferred, fill.executed_at.microsecond > 0, texts)

    return max(one, other, key=rank)


def merge(one: Fill, other: Fill) -> Fill:
    """Return the preferred one of two reports of the same fill, completed from the other."""
    chosen = prefer(one, other)
    return completed(chosen, content(other if chosen is one else one))


def completed(fill: Fill, stored: Content) -> Fill:
    """Return the fill with what its report leaves out taken from a stored row of the same fill."""
    filled = fill
    if _is_cut_to_second(_time_text(fill.executed_at), stored.ts):
        filled = filled._replace(executed_at=time_of(stored))
    if not fill.action and stored.action:
        filled = filled._replace(action=stored.action)
    if fill.fee_dollars is None and stored.fee_dollars:
        filled = filled._replace(fee_dollars=Decimal(stored.fee_dollars))
    if fill.is_taker is None and stored.is_taker:
        filled = filled._replace(is_taker=stored.is_taker == "true")
    if fill.subaccount_number is None and stored.subaccount_number:
        filled = filled._replace(subaccount_number=int(stored.subaccount_number))
    if fill.exchange_index is None and stored.exchange_index:
        filled = filled._replace(exchange_index=int(stored.exchange_index))
    if (
        fill.direction_inferred
        and stored.side == fill.outcome
        and stored.direction_inferred == "false"
        and stored.book_side
    ):
        filled = filled._replace(direction_inferred=False)
    return filled
