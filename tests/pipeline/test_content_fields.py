"""A content is read by the names of its fields, which are the table's columns."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from support.fills import FILL

from kalshi_fills.pipeline.content import digest
from kalshi_fills.pipeline.fills import CONTENT_FIELDS, Content, Reason
from kalshi_fills.pipeline.lookalikes import LOOKALIKES

SPARSE = FILL._replace(
    executed_at=datetime(2026, 11, 20, 14, 31, 9, 5, tzinfo=UTC),
    ticker="TICKER",
    yes_price_dollars=Decimal("0.4"),
    no_price_dollars=Decimal("0.6"),
    contracts=Decimal(3),
    fee_dollars=None,
    is_taker=None,
    exchange_index=None,
    direction_inferred=True,
)


def test_each_field_of_a_fill_is_under_its_column() -> None:
    made = SPARSE.content
    assert made == Content(
        ts="2026-11-20 14:31:09.000005",
        fill_id="f-1",
        exchange_order_id="o-1",
        market_ticker="TICKER",
        side="no",
        action="sell",
        outcome_side="no",
        book_side="ask",
        price_cents="60.0000",
        yes_price_dollars="0.400000",
        no_price_dollars="0.600000",
        size="3.00",
        fee_dollars="",
        is_taker="",
        subaccount_number="1",
        exchange_index="",
        direction_inferred="true",
    )
    assert type(made) is Content


def test_a_digest_depends_on_every_field_and_counts_bytes_of_ids() -> None:
    made = SPARSE.content
    changed = {digest(made._replace(**{name: "9"})) for name in CONTENT_FIELDS}
    assert len(changed | {digest(made)}) == len(CONTENT_FIELDS) + 1
    assert digest(made._replace(fill_id="é")) != digest(made._replace(fill_id="e"))


def test_every_mark_of_a_lookalike_has_its_reason() -> None:
    reasons = {Reason(name) for name in LOOKALIKES.values()}
    assert reasons == {reason for reason in Reason if reason.startswith("looks_like_")}
