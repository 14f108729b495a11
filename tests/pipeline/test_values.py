"""Habits of an exchange that no era had: what cannot be read exactly is refused, never guessed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fills import Values, values_of
from support.payloads import CURRENT, ERAS, LEGACY, NOW, README_ERA, TRANSITIONAL
from support.syncing import HOUR, Bench, account_of, fill_at
from support.syncing import NOW as BENCH_NOW
from support.together import read_together

from kalshi_fills.exchange.decode import decode_listing
from kalshi_fills.pipeline.fills import Fill, Reason, Rejected
from kalshi_fills.pipeline.parse import read_item

PRICE_KEYS = (
    *("yes_price", "no_price", "yes_price_fixed", "no_price_fixed"),
    *("yes_price_dollars", "no_price_dollars", "price"),
)


def read_text(text: str) -> Fill | Rejected:
    (item,), _ = decode_listing(f'{{"fills": [{text}], "cursor": ""}}', "fills")
    read_together([item] * 3)
    return read_item(item, "live", NOW)


def read(payload: dict[str, Any]) -> Fill | Rejected:
    return read_text(json.dumps(payload))


def fill_of(payload: dict[str, Any]) -> Values:
    outcome = read(payload)
    assert isinstance(outcome, Fill), outcome.reason
    return values_of(outcome)


def priced(**prices: Any) -> dict[str, Any]:
    return {key: value for key, value in LEGACY.items() if key not in PRICE_KEYS} | prices


# Prices under the wrong key


@pytest.mark.parametrize("value", ["0.41", "41.0", "41.00", "41.5", "1.00", "0.4100", 0.41, 41.0])
@pytest.mark.parametrize("key", ["yes_price", "no_price"])
def test_cents_with_a_decimal_point_are_refused(key: str, value: object) -> None:
    outcome = read(priced(**{key: value}))
    assert isinstance(outcome, Rejected)
    assert outcome.reason is Reason.PRICE_UNREADABLE
    assert outcome.claims_fill


def test_so_are_two_that_would_add_up() -> None:
    for yes, no in (("0.41", "0.59"), ("41.0", "59.0"), (41, "59.0"), ("40.5", "59.5")):
        outcome = read(priced(yes_price=yes, no_price=no))
        assert isinstance(outcome, Rejected)
        assert outcome.reason is Reason.PRICE_UNREADABLE


@pytest.mark.parametrize("cents", [41, "41"])
def test_whole_cents_are_read(cents: object) -> None:
    assert fill_of(priced(yes_price=cents)).yes_price_dollars == Decimal("0.41")


@pytest.mark.parametrize(
    "prices",
    [
        {"yes_price_fixed": "41"},
        {"yes_price_fixed": "41.00", "no_price_fixed": "59.00"},
        {"yes_price_fixed": 41},
        {"yes_price_fixed": 0.41},
        {"yes_price_dollars": "41"},
        {"yes_price_dollars": 0.41},
        {"yes_price_dollars": "1.00"},
        {"yes_price_dollars": "-0.00", "no_price_dollars": "1.00"},
        {"yes_price": "-41"},
        {"yes_price": True},
        {"yes_price": "\u0664\u0661"},
        {"yes_price_dollars": "\u0660.\u0664\u0661"},
        {"yes_price_dollars": "0,41"},
        {"yes_price_dollars": "$0.41"},
        {"yes_price_dollars": ".41"},
        {"yes_price_dollars": "0."},
        {"yes_price_dollars": "4.1e-1"},
        {"yes_price_dollars": {"amount": "0.41"}},
        {"yes_price_dollars": ["0.41"]},
        {"price": "41.5"},
    ],
    ids=json.dumps,
)
def test_a_price_in_another_unit_or_spelling_is_refused(prices: dict[str, Any]) -> None:
    outcome = read(priced(**prices))
    assert isinstance(outcome, Rejected)
    assert outcome.claims_fill


def test_a_dollar_text_under_the_cents_key_condemns_no_fill_that_has_dollars() -> None:
    fill = fill_of(CURRENT | {"yes_price": "0.6100", "no_price": "0.3900"})
    assert fill.yes_price_dollars == Decimal("0.61")


def test_a_count_in_decimals_is_a_quantity_of_contracts_under_either_key() -> None:
    assert fill_of(LEGACY | {"count": "3.75"}).contracts == Decimal("3.75")
    for count in (3.75, "3.751", "0", "-1", "1e3", "\u0663"):
        assert isinstance(read(LEGACY | {"count": count}), Rejected), count


def test_no_price_is_stored_a_hundredfold_or_a_hundredth(bench: Bench) -> None:
    moment = BENCH_NOW - HOUR
    fill = fill_at(moment)
    payload = {k: v for k, v in fill.payload("current").items() if k not in PRICE_KEYS}
    bench.serve(account_of(fill_at(moment, 2)))
    bench.exchange.insert_item(payload | {"yes_price": "0.41"}, moment)

    done = bench.run()

    assert (done.counts.n_new, done.counts.n_rejected, done.claims) == (1, 1, 1)
    assert done.has_findings
    assert bench.rows("yes_price_dollars") == [(Decimal("0.41"),)]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(PRICE_KEYS),
    st.decimals("0.0001", 120, places=4).map(str)
    | st.integers(-2, 120)
    | st.integers(-2, 120).map(str)
    | st.decimals(0, 1, places=2),
)
def test_a_price_that_is_read_is_in_the_unit_of_its_key(key: str, value: Any) -> None:
    sent = "NUMBER" if isinstance(value, Decimal) else value
    outcome = read_text(json.dumps(priced(**{key: sent})).replace('"NUMBER"', str(value)))
    if isinstance(outcome, Rejected):
        return
    number = Decimal(value)
    cents = key in ("yes_price", "no_price") or (key == "price" and number >= 1)
    dollars = number / 100 if cents else number
    fill = values_of(outcome)
    assert dollars == (fill.no_price_dollars if key.startswith("no") else fill.yes_price_dollars)
    assert not cents or number == int(number)


# Keys that come in other ways


def test_a_key_sent_twice_counts_as_sent_last_in_content_and_payload() -> None:
    text = json.dumps(CURRENT)[:-1] + ', "count_fp": "9.00"}'
    outcome = read_text(text)
    assert isinstance(outcome, Fill)
    assert (outcome.content.size, outcome.raw_json) == ("9.00", text)


@pytest.mark.parametrize("key", ["fill_id", "order_id", "ticker", "trade_id", "market_ticker"])
@pytest.mark.parametrize("value", [12, 0, 1.5, True, ["x"], {"id": "x"}])
def test_an_id_that_is_no_text_is_a_claim(key: str, value: object) -> None:
    outcome = read(CURRENT | {key: value})
    assert isinstance(outcome, Rejected)
    assert outcome.claims_fill


@pytest.mark.parametrize("era", ERAS)
def test_new_keys_of_any_kind_change_nothing(era: str) -> None:
    payload = ERAS[era]
    more = {"price_v3": {"amount": "0.41"}, "legs": [{"status": "x"}], "Status": "x", "": 1}
    assert fill_of(payload | more).content == fill_of(payload).content


def test_a_fill_inside_an_envelope_is_no_fill_and_told_where_all_are() -> None:
    items = decode_listing(json.dumps([{"fill": CURRENT}] * 3), "fills")[0]
    outcome = read_together(items)
    assert not len(outcome.batch)
    assert [refused.reason for refused in outcome.rejected] == [Reason.NO_ORDER_ID] * 3


@pytest.mark.parametrize("key", sorted(set(CURRENT) - {"action", "side"}))
def test_a_nulled_key_is_a_key_that_is_gone(key: str) -> None:
    for empty in (None, "", [], {}):
        gone = read({name: value for name, value in CURRENT.items() if name != key})
        nulled = read(CURRENT | {key: empty})
        assert type(gone) is type(nulled)
        if isinstance(gone, Fill):
            assert isinstance(nulled, Fill)
            assert nulled._replace(raw_json="") == gone._replace(raw_json="")
        elif isinstance(nulled, Rejected):
            assert (nulled.reason, nulled.claims_fill) == (gone.reason, gone.claims_fill)


# Times


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("2026-11-20T14:31:09+00:00", datetime(2026, 11, 20, 14, 31, 9, tzinfo=UTC)),
        ("2026-11-20T20:01:09.5+05:30", datetime(2026, 11, 20, 14, 31, 9, 500_000, tzinfo=UTC)),
        ("2026-11-20T14:31:09.123456789Z", datetime(2026, 11, 20, 14, 31, 9, 123456, tzinfo=UTC)),
        ("2026-11-20T23:59:59.999999999Z", datetime(2026, 11, 20, 23, 59, 59, 999999, tzinfo=UTC)),
        ("2026-11-20T14:31:09-00:00", datetime(2026, 11, 20, 14, 31, 9, tzinfo=UTC)),
    ],
)
def test_times_with_offsets_and_finer_digits_are_the_same_instant(
    sent: str, expected: datetime
) -> None:
    assert fill_of(CURRENT | {"created_time": sent}).executed_at == expected


@pytest.mark.parametrize(
    "sent",
    [
        "2026-06-30T23:59:60Z",
        "2026-11-20T24:00:00Z",
        "2026-11-20 14:31:09Z",
        "2026-11-20T14:31:09 Z",
        "2026-11-20T14:31Z",
        "2026-11-20T14:31:09,5Z",
        "2026-11-20T14:31:09+2:00",
        "2026-11-20T14:31:09+99:00",
        "\u0662\u0660\u0662\u0666-11-20T14:31:09Z",
        "2026-W47-5T14:31:09Z",
        "1795185069",
        1795185069.5,
        -1795185069,
        True,
    ],
)
def test_a_time_that_is_none_is_a_claim(sent: object) -> None:
    outcome = read(CURRENT | {"created_time": sent})
    assert isinstance(outcome, Rejected)
    assert outcome.claims_fill


# The same number in other words


@pytest.mark.parametrize(
    "changes",
    [
        {"count_fp": "4.5"},
        {"count_fp": "0004.50"},
        {"yes_price_dollars": "0.61", "no_price_dollars": "0.390000"},
        {"fee_cost": "0.0749390"},
        {"created_time": "2026-11-20T14:31:09.000417000Z"},
        {"created_time": "2026-11-20T15:31:09.000417+01:00"},
    ],
    ids=json.dumps,
)
def test_the_same_fill_in_another_spelling_is_the_same_content(changes: dict[str, Any]) -> None:
    assert fill_of(CURRENT | changes).content == fill_of(CURRENT).content


def test_a_fee_of_minus_nothing_is_the_same_content_as_one_of_nothing() -> None:
    zero, minus = (fill_of(CURRENT | {"fee_cost": fee}) for fee in ("0.000000", "-0.000000"))
    assert zero.content == minus.content


# Read together or alone


MARKS = ["status", "taker_side", "rfq_id", "market_result", "entry_price", "yes_bid"]
keys_gone = st.lists(st.sampled_from(sorted(CURRENT)), max_size=6, unique=True)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([CURRENT, TRANSITIONAL, LEGACY, README_ERA]),
    keys_gone,
    st.lists(st.sampled_from(MARKS), max_size=2),
    st.integers(0, 29),
)
def test_claims_come_out_of_a_run_of_items_as_each_does_alone(
    payload: dict[str, Any], gone: list[str], marks: list[str], index: int
) -> None:
    values = [dict(payload) for _ in range(30)]
    values[index] = {key: v for key, v in payload.items() if key not in gone} | dict.fromkeys(
        marks, "x"
    )
    items = list(map(json.dumps, values))
    read_together(items)
    outcome = read_item(items[index], "live", NOW)
    if isinstance(outcome, Rejected):
        left = set(payload) - set(gone)
        identity = bool(left & {"fill_id", "trade_id"})
        whole = "order_id" in left and bool(left & set(PRICE_KEYS) - {"price"})
        assert outcome.claims_fill == (identity and (not marks or whole))
