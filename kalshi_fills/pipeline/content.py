"""A fill's content as named texts: digest, differences, which of two reports to prefer."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

import xxhash

from kalshi_fills.pipeline.fills import Fill, FillKey, book_side, side_price_dollars
from kalshi_fills.pipeline.values import moment_of


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


def content(fill: Fill) -> Content:
    """Return a fill's content, as `queries/fragments/content_texts.sql` reads it from a row."""
    return Content(
        time_text(fill.executed_at),
        fill.fill_id,
        fill.order_id,
        fill.ticker,
        fill.outcome,
        fill.action,
        fill.outcome,
        book_side(fill.outcome),
        f"{side_price_dollars(fill) * 100:.4f}",
        f"{fill.yes_price_dollars:.6f}",
        f"{fill.no_price_dollars:.6f}",
        f"{fill.contracts:.2f}",
        "" if fill.fee_dollars is None else f"{fill.fee_dollars:.6f}",
        flag_text(fill.is_taker),
        "" if fill.subaccount_number is None else str(fill.subaccount_number),
        "" if fill.exchange_index is None else str(fill.exchange_index),
        flag_text(fill.direction_inferred),
    )


def time_of(content: Content) -> datetime:
    """Return the event time of a content, aware UTC."""
    return moment_of(content.ts)


def time_text(moment: datetime) -> str:
    """Return an event time as its text in a content."""
    return moment.isoformat(" ", "microseconds")[:26]


def flag_text(flag: bool | None) -> str:
    """Return a flag as its text in a content."""
    return "" if flag is None else "true" if flag else "false"


def _is_cut_to_second(text: str, other: str) -> bool:
    """Return whether a time is another one without its fraction: `ts` beside `created_time`."""
    return (
        text != other
        and text.endswith(_WHOLE_SECOND)
        and text[:_SECOND_LETTERS] == other[:_SECOND_LETTERS]
    )


def digest(content: Content) -> int:
    """Return 64 bits of a content, equal to the table's own digest of the same row."""
    return xxhash.xxh64_intdigest(counted(*content).encode())


def counted(*texts: str) -> str:
    """Return texts joined, each after its length in bytes, so that no two lists join alike."""
    joined = "".join([f"{len(text)}:{text}" for text in texts])
    if not joined.isascii():
        joined = "".join([f"{len(text.encode())}:{text}" for text in texts])
    return joined


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
    texts = content(report)
    known = sum(map(bool, texts))
    return (known, not report.direction_inferred, report.executed_at.microsecond > 0, texts)


def merge(one: Fill, other: Fill) -> Fill:
    """Return the one of two reports of a fill that knows more, completed from the other."""
    chosen = max(one, other, key=rank)
    return completed(chosen, content(other if chosen is one else one))


def completed(fill: Fill, stored: Content) -> Fill:
    """Return the fill with what its report leaves out taken from a stored row of the same fill."""
    filled = fill
    if _is_cut_to_second(time_text(fill.executed_at), stored.ts):
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
