"""A break carries values; only a report makes texts of them."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from support.fills import FILL

from kalshi_fills.pipeline.content import Difference
from kalshi_fills.pipeline.fills import CONTENT_FIELDS, Content, FillKey
from kalshi_fills.reconcile.breaks import (
    Break,
    FillSide,
    Value,
    mismatch,
    missing_fill,
    unexpected_row,
)
from kalshi_fills.reconcile.fills import compare_fills
from kalshi_fills.report.breaks import break_json

AT = datetime(2026, 11, 20, 14, 31, 9, 123456, tzinfo=UTC)

KEY = FillKey("f1", "o1")


def fill(outcome: str = "yes") -> Content:
    changes = {"fill_id": "f1", "order_id": "o1", "ticker": "KXT", "executed_at": AT}
    prices = {"yes_price_dollars": Decimal("0.41"), "no_price_dollars": Decimal("0.59")}
    return FILL._replace(**changes, **prices, outcome=outcome, contracts=Decimal(3)).content


@pytest.mark.parametrize(("outcome", "price"), [("yes", "0.41"), ("no", "0.59")])
def test_a_fill_that_one_side_lacks_is_the_same_seen_from_either_side(
    outcome: str, price: str
) -> None:
    missing = missing_fill(fill(outcome))
    unexpected = unexpected_row(fill(outcome))

    assert missing.exchange == FillSide(AT, outcome, Decimal(price), Decimal(3))
    assert missing.table is None
    assert unexpected.table == missing.exchange
    assert unexpected.exchange is None
    assert missing.executed_at == unexpected.executed_at == AT
    assert missing.key == unexpected.key == KEY


def test_a_break_without_a_whole_fill_has_no_time() -> None:
    later = Difference("ts", "2026-11-20 15:31:09.123456", fill().ts)
    found = mismatch(fill(), later)

    assert (found.key, found.exchange, found.table) == (KEY, AT, AT + timedelta(hours=1))
    assert found.executed_at is None


def test_a_break_is_json_in_the_words_of_the_contract() -> None:
    assert json.dumps(break_json(missing_fill(fill("no")))) == (
        '{"kind": "missing", "scope": "fill", "fill_id": "f1", "order_id": "o1", '
        '"market_ticker": "KXT", "field": null, '
        '"exchange": "3.00 no at 0.590000 on 2026-11-20 14:31:09.123456", "table": null}'
    )


@pytest.mark.parametrize("field", CONTENT_FIELDS)
def test_the_value_of_every_field_is_written_as_its_content_has_it(field: str) -> None:
    text = getattr(fill(), field)

    shown = break_json(mismatch(fill(), Difference(field, "", text)))

    assert (shown["exchange"], shown["table"]) == (text, "")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ts", AT),
        ("side", "yes"),
        ("price_cents", Decimal(41)),
        ("yes_price_dollars", Decimal("0.41")),
        ("size", Decimal(3)),
        ("fee_dollars", Decimal("0.074939")),
        ("is_taker", True),
        ("subaccount_number", 1),
        ("exchange_index", 2),
        ("direction_inferred", False),
    ],
)
def test_both_sides_of_a_mismatch_are_values(field: str, value: Value) -> None:
    found = mismatch(fill(), Difference(field, "", getattr(fill(), field)))

    assert (type(found.exchange), found.exchange) == (type(value), value)
    assert found.table == ""


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("is_taker", True, "true"),
        ("subaccount_number", 3, "3"),
        ("fills", 17, "17"),
        ("fill_count_fp", Decimal(7), "7.00"),
        ("fees_dollars", Decimal("0.1"), "0.100000"),
        ("position_fp of 1", Decimal("-1.5"), "-1.50"),
        ("ts", AT, "2026-11-20 14:31:09.123456"),
        ("action", "sold", "sold"),
    ],
)
def test_a_value_is_written_with_the_places_of_its_field(
    field: str, value: Value, text: str
) -> None:
    found = Break("mismatch", "order", None, "o1", "KXT", field, value, None)

    assert break_json(found)["exchange"] == text


def test_breaks_come_in_the_same_order_in_whatever_order_an_engine_returns_rows() -> None:
    known = FILL.fill
    rows = [fill()._replace(fill_id=f"f{number}", size=f"{number}.00") for number in range(9)]
    rows += [known.content._replace(size=size) for size in ("7.00", "9.00", "8.00")]
    found = list(compare_fills({known.key: known}, rows, AT + timedelta(days=1)))

    assert len(found) == 9 + 3
    for seed in range(5):
        shuffled = random.Random(seed).sample(rows, len(rows))
        assert list(compare_fills({known.key: known}, shuffled, AT + timedelta(days=1))) == found
