"""A fill's content: its texts and digest, what differs, which of two reports knows more."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

import xxhash

from kalshi_fills.pipeline.fills import BOOK_OF_OUTCOME, CONTENT_FIELDS, Content, Fill

_WHOLE_SECOND: Final = ".000000"

_SECOND_LETTERS: Final = len("2026-11-20 14:31:09")


def time_text(moment: datetime) -> str:
    """Return an event time as its text in a content."""
    return moment.isoformat(" ", "microseconds")[:26]


def flag_text(flag: bool | None) -> str:
    """Return a flag as its text in a content."""
    return "" if flag is None else "true" if flag else "false"


def terms_texts(outcome: str, action: str, yes: Decimal, no: Decimal) -> tuple[str, ...]:
    """Return a content's texts from `side` to `no_price_dollars`; `yes` and `no` are in dollars."""
    cents = (yes if outcome == "yes" else no) * 100
    book = BOOK_OF_OUTCOME[outcome]
    return (outcome, action, outcome, book, f"{cents:.4f}", f"{yes:.6f}", f"{no:.6f}")


def flags_texts(
    is_taker: bool | None, subaccount: int | None, shard: int | None, is_inferred: bool
) -> tuple[str, ...]:
    """Return a content's texts from `is_taker` to `direction_inferred`."""
    numbers = ["" if number is None else str(number) for number in (subaccount, shard)]
    return (flag_text(is_taker), *numbers, flag_text(is_inferred))


def _is_cut_to_second(text: str, other: str) -> bool:
    """Return whether a time is another one without its fraction: `ts` beside `created_time`."""
    return text != other and text == other[:_SECOND_LETTERS] + _WHOLE_SECOND


def digest(content: Content) -> int:
    """Return 64 bits of a content, equal to the table's own digest of the same row."""
    return xxhash.xxh64_intdigest(counted(*content).encode())


def counted(*texts: str) -> str:
    """Return texts joined, each after its length in bytes, so that no two lists join alike."""
    joined = "".join([f"{len(text)}:{text}" for text in texts])
    if not joined.isascii():
        joined = "".join([f"{len(text.encode())}:{text}" for text in texts])
    return joined


def key_hash(fill_id: str, order_id: str) -> int:
    """Return 64 bits of a fill's identity."""
    return xxhash.xxh64_intdigest(f"{len(fill_id)}:{fill_id}{order_id}".encode())


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
    nor a time without a fraction beside a finer one of the same second.
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


def rank(report: Fill) -> tuple[int, bool, bool, Content]:
    """Return how much a report of a fill knows, to be compared with other reports of it.

    Of two that know as much, their contents decide, not the order in which they came.
    """
    texts = report.content
    is_direct = texts.direction_inferred == "false"
    return (sum(map(bool, texts)), is_direct, not texts.ts.endswith(_WHOLE_SECOND), texts)


def merge(one: Fill, other: Fill) -> Fill:
    """Return the one of two reports of a fill that knows more, completed from the other."""
    chosen = max(one, other, key=rank)
    return completed(chosen, (other if chosen is one else one).content)


def completed(fill: Fill, stored: Content) -> Fill:
    """Return the fill with what its report leaves out taken from a stored row of the same fill."""
    texts = fill.content
    filled = Content._make(now or before for before, now in zip(stored, texts, strict=True))
    if _is_cut_to_second(texts.ts, stored.ts):
        filled = filled._replace(ts=stored.ts)
    if texts.side == stored.side and stored.direction_inferred == "false" and stored.book_side:
        filled = filled._replace(direction_inferred="false")
    return fill._replace(content=filled)
