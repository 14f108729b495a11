"""A content is read by the names of its fields, which are the table's columns."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from support.fills import EDGES, FILL, Values

from kalshi_fills.pipeline.content import digest
from kalshi_fills.pipeline.fills import CONTENT_FIELDS, Content, Reason
from kalshi_fills.pipeline.lookalikes import LOOKALIKES
from kalshi_fills.pipeline.page import read_page
from kalshi_fills.pipeline.parse import read_item
from kalshi_fills.pipeline.stages import Counts

LATER = datetime(2200, 1, 1, tzinfo=UTC)

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


def content_of(values: Values) -> Content:
    """Return what the item of a fill is read as, the same in a page and by itself."""
    item = json.dumps(values.payload)
    alone = read_item(item, "live", LATER)
    (together,) = read_page([item], "live", LATER, Counts()).batch.fills()
    assert alone == together
    return together.content


def test_each_field_of_a_fill_is_under_its_column() -> None:
    made = content_of(SPARSE)
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


@pytest.mark.parametrize(
    "values",
    [one for one in (FILL, *EDGES) if len(one.fill_id) < 1_000],
    ids=lambda one: ascii(one.fill_id)[:12],
)
def test_what_an_item_says_is_what_the_columns_hold(values: Values) -> None:
    assert content_of(values) == values.content


@pytest.mark.parametrize("text", ["2026-11-20T14:31:09Z", "2026-11-20T14:31:09.5Z"])
def test_zeros_that_the_exchange_leaves_out_of_a_time_are_written(text: str) -> None:
    for times in ([text], [text, "2026-11-20T14:31:10.123456Z", "2026-11-20T14:31:10.1234567Z"]):
        items = [json.dumps(FILL.payload | {"created_time": time}) for time in times]
        ts = read_page(items, "live", LATER, Counts()).batch.ts
        assert ts == [
            time.rstrip("Z").replace("T", " ").ljust(20, ".").ljust(26, "0")[:26] for time in times
        ]


def test_a_digest_depends_on_every_field_and_counts_bytes_of_ids() -> None:
    made = content_of(SPARSE)
    changed = {digest(made._replace(**{name: "9"})) for name in CONTENT_FIELDS}
    assert len(changed | {digest(made)}) == len(CONTENT_FIELDS) + 1
    assert digest(made._replace(fill_id="é")) != digest(made._replace(fill_id="e"))


def test_every_mark_of_a_lookalike_has_its_reason() -> None:
    reasons = {Reason(name) for name in LOOKALIKES.values()}
    assert reasons == {reason for reason in Reason if reason.startswith("looks_like_")}
