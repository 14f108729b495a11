"""A fill's content as named texts: digest, differences, which of two reports to prefer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Final, NamedTuple

import xxhash

from kalshi_fills.pipeline.fills import Fill, FillKey, book_side, side_price_dollars

CONTENT_FIELDS: Final = (
    "ts",
    "fill_id",
    "exchange_order_id",
    "market_ticker",
    "side",
    "action",
    "outcome_side",
    "book_side",
    "price_cents",
    "yes_price_dollars",
    "no_price_dollars",
    "size",
    "fee_dollars",
    "is_taker",
    "subaccount_number",
    "exchange_index",
    "direction_inferred",
)
"""The columns whose equality makes two rows the same fill with the same content, in order."""

_TIME: Final = CONTENT_FIELDS.index("ts")

_INFERRED: Final = CONTENT_FIELDS.index("direction_inferred")

_WHOLE_SECOND: Final = ".000000"

_SECOND_LETTERS: Final = len("2026-11-20 14:31:09")

Content = tuple[str, ...]
"""A fill's content as texts, one for each of CONTENT_FIELDS; empty where not known."""


def content(fill: Fill) -> Content:
    """Give a fill's content as texts, as `queries/fragments/content_texts.sql` gives a row's."""
    return contents([fill])[0]


def contents(fills: Sequence[Fill]) -> list[Content]:
    """Give the contents of fills, in their order; together they take half as long."""
    if not fills:
        return []
    sent = dict(zip(Fill._fields, zip(*fills, strict=True), strict=True))
    outcome = sent["outcome"]
    texts = (
        [_time_text(moment) for moment in sent["executed_at"]],
        sent["fill_id"],
        sent["order_id"],
        sent["ticker"],
        outcome,
        sent["action"],
        outcome,
        map(book_side, outcome),
        [_cents_text(side_price_dollars(fill)) for fill in fills],
        map(_dollars_text, sent["yes_price_dollars"]),
        map(_dollars_text, sent["no_price_dollars"]),
        map(_contracts_text, sent["contracts"]),
        map(_fee_text, sent["fee_dollars"]),
        map(_FLAG_TEXTS.__getitem__, sent["is_taker"]),
        map(_small_text, sent["subaccount_number"]),
        map(_small_text, sent["exchange_index"]),
        map(_FLAG_TEXTS.__getitem__, sent["direction_inferred"]),
    )
    return list(zip(*texts, strict=True))


_FLAG_TEXTS: Final = {None: "", True: "true", False: "false"}


def _time_text(moment: datetime) -> str:
    return moment.isoformat(" ", "microseconds")[:26]


def time_of(texts: Sequence[str]) -> datetime:
    """Return the event time of a content, aware UTC."""
    return datetime.fromisoformat(texts[_TIME]).replace(tzinfo=UTC)


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


def digest(texts: Content) -> int:
    """Give 64 bits of a content, equal to the table's own digest of the same row."""
    # Side and prices are few, and what follows the fee is fewer: their texts are joined once.
    joined = (
        f"{_counted(texts[:4])}{_counted_before(texts[4:11])}"
        f"{_counted(texts[11:13])}{_counted_before(texts[13:])}"
    )
    return xxhash.xxh64_intdigest(joined.encode())


def _counted(texts: Sequence[str]) -> str:
    joined = "".join([f"{len(text)}:{text}" for text in texts])
    if not joined.isascii():  # the table counts bytes
        joined = "".join([f"{len(text.encode())}:{text}" for text in texts])
    return joined


_counted_before = lru_cache(1 << 12)(_counted)


def key_hash(key: FillKey) -> int:
    """Give 64 bits of a fill's identity."""
    return xxhash.xxh64_intdigest(f"{len(key.fill_id)}:{key.fill_id}{key.order_id}".encode())


class Difference(NamedTuple):
    """One field in which a stored row and the exchange disagree."""

    field: str
    stored: str
    sent: str


def differences(stored: Sequence[str], sent: Content) -> list[Difference]:
    """Return the fields in which the exchange contradicts, or knows more than, a stored row.

    A field that the exchange left out this time (an archived row lacks the newer ones) is no
    difference; nor is a direction that had to be inferred and is the same as the confirmed one,
    nor a time of whole seconds beside a finer one of the same second.
    """
    found = []
    for index, (name, before, now) in enumerate(zip(CONTENT_FIELDS, stored, sent, strict=True)):
        if before == now or now == "":
            continue
        if index == _INFERRED and now == "true":
            continue
        if index == _TIME and _is_cut_to_second(now, before):
            continue
        found.append(Difference(name, before, now))
    return found


def contradictions(stored: Sequence[str], sent: Content) -> list[Difference]:
    """Return the differences in fields that both sides know as finely, and disagree on."""
    return [
        found
        for found in differences(stored, sent)
        if found.stored != ""
        and found.field != CONTENT_FIELDS[_INFERRED]
        and not (found.field == CONTENT_FIELDS[_TIME] and _is_cut_to_second(found[1], found[2]))
    ]


def prefer(one: Fill, other: Fill) -> Fill:
    """Return the one of two reports of the same fill that knows more.

    Of two that know as much, the choice depends on their contents only, never on who came first.
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


def completed(fill: Fill, stored: Sequence[str]) -> Fill:
    """Return the fill with what it leaves out filled in from a stored row of the same fill."""
    known = dict(zip(CONTENT_FIELDS, stored, strict=True))
    filled = fill
    if _is_cut_to_second(_time_text(fill.executed_at), known["ts"]):
        filled = filled._replace(executed_at=time_of(stored))
    if not fill.action and known["action"]:
        filled = filled._replace(action=known["action"])
    if fill.fee_dollars is None and known["fee_dollars"]:
        filled = filled._replace(fee_dollars=Decimal(known["fee_dollars"]))
    if fill.is_taker is None and known["is_taker"]:
        filled = filled._replace(is_taker=known["is_taker"] == "true")
    if fill.subaccount_number is None and known["subaccount_number"]:
        filled = filled._replace(subaccount_number=int(known["subaccount_number"]))
    if fill.exchange_index is None and known["exchange_index"]:
        filled = filled._replace(exchange_index=int(known["exchange_index"]))
    if (
        fill.direction_inferred
        and known["side"] == fill.outcome
        and known["direction_inferred"] == "false"
        and known["book_side"]
    ):
        filled = filled._replace(direction_inferred=False)
    return filled
