"""One item of any era becomes an exact fill or a refusal, never an error."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fills import values_of
from support.items import NAKED, PRICES, fill_of, read, reason_of, text_of, without
from support.odd_items import literal
from support.payloads import (
    CURRENT,
    ERAS,
    FIXED_ONLY,
    LEGACY,
    NOW,
    README_ERA,
    TRANSITIONAL,
    anything,
    scalars,
)

from kalshi_fills.exchange.decode import decode_listing
from kalshi_fills.pipeline.fills import (
    KNOWN_KEYS,
    STAGE_OF,
    Fill,
    Reason,
    Rejected,
    gate,
)
from kalshi_fills.pipeline.parse import read_item

ONLY_PRICE = without(LEGACY, "yes_price", "no_price", "yes_price_fixed", "no_price_fixed")


# Money and quantities


@pytest.mark.parametrize("yes", ["0.0050", "0.9950", "0.000100", "0.9999", "0.0001", "0.5"])
@pytest.mark.parametrize("tier", ["dollars", "fixed"])
def test_sub_cent_prices_are_kept_exactly(yes: str, tier: str) -> None:
    sent = {f"yes_price_{tier}": yes, f"no_price_{tier}": str(1 - Decimal(yes))}
    fill = fill_of(without(CURRENT, *PRICES) | sent)
    assert fill.yes_price_dollars == Decimal(yes)
    assert fill.no_price_dollars == 1 - Decimal(yes)


@pytest.mark.parametrize("count", ["0.01", "2.50", "1", "1000000.00", "9999999999999999.99"])
def test_quantities_are_kept_exactly(count: str) -> None:
    assert fill_of(CURRENT | {"count_fp": count}).contracts == Decimal(count)


@pytest.mark.parametrize("given_key", PRICES)
def test_one_price_tells_the_other(given_key: str) -> None:
    fill = fill_of(without(CURRENT, *PRICES) | {given_key: "0.0050"})
    known = fill.yes_price_dollars if given_key[0] == "y" else fill.no_price_dollars
    assert known == Decimal("0.0050")
    assert fill.yes_price_dollars + fill.no_price_dollars == 1


def test_strings_win_over_integers_and_dollars_over_cents() -> None:
    # Whole cents and contracts were cut off, not rounded, in the last weeks they were sent.
    fill = fill_of(
        CURRENT
        | {
            "yes_price_dollars": "0.0050",
            "no_price_dollars": "0.9950",
            "yes_price_fixed": "0.0100",
            "no_price_fixed": "0.9900",
            "yes_price": 0,
            "no_price": 99,
            "price": 0.01,
            "count": 4,
        }
    )
    assert (fill.yes_price_dollars, fill.contracts) == (Decimal("0.0050"), Decimal("4.50"))


def test_fixed_strings_win_over_cents() -> None:
    fill = fill_of(LEGACY | {"yes_price_fixed": "0.4150", "no_price_fixed": "0.5850"})
    assert fill.yes_price_dollars == Decimal("0.415")


def test_a_missing_fee_is_unknown_and_a_fee_of_nothing_is_zero() -> None:
    for absent in (without(CURRENT, "fee_cost"), CURRENT | {"fee_cost": None}):
        assert fill_of(absent).fee_dollars is None
    assert fill_of(CURRENT | {"fee_cost": "0.000000"}).fee_dollars == 0


def test_a_fee_of_minus_nothing_is_zero() -> None:
    fee = fill_of(CURRENT | {"fee_cost": "-0.000000"}).fee_dollars
    assert fee is not None
    assert not fee.is_signed()


def test_a_missing_subaccount_or_flag_is_unknown() -> None:
    fill = fill_of(without(CURRENT, "subaccount_number", "is_taker", "exchange_index"))
    assert (fill.subaccount_number, fill.is_taker, fill.exchange_index) == (None, None, None)


@pytest.mark.parametrize(
    ("price", "dollars"),
    [
        ("0.37", "0.37"),
        ("0.005", "0.005"),
        ("1", "0.01"),
        ("63", "0.63"),
        ("99", "0.99"),
        ("99.0", "0.99"),
        ('"0.37"', "0.37"),
        ('"63"', "0.63"),
        ("3.7e-1", "0.37"),
    ],
)
@pytest.mark.parametrize("side", ["yes", "no"])
def test_legacy_price_alone_is_of_the_side(price: str, dollars: str, side: str) -> None:
    text = json.dumps(ONLY_PRICE | {"side": side, "price": "PRICE"}).replace('"PRICE"', price)
    (item,), _ = decode_listing(f"[{text}]", "fills")
    outcome = read_item(item, "live", NOW)
    assert isinstance(outcome, Fill)
    fill = values_of(outcome)
    assert fill.price_dollars == Decimal(dollars)
    assert fill.yes_price_dollars == (Decimal(dollars) if side == "yes" else 1 - Decimal(dollars))


@pytest.mark.parametrize(
    "price",
    [
        *("0", "0.0", "100", "99.5", "1.5", "-5", "-0.5", "1e400", "1e-400", "NaN", "Infinity"),
        *("true", '"x"', "[1]", '"NaN"', '"0"', '"100"', "0.1234567"),
    ],
)
def test_any_other_legacy_price_is_refused(price: str) -> None:
    text = json.dumps(ONLY_PRICE | {"price": "PRICE"}).replace('"PRICE"', price)
    (item,), _ = decode_listing(f"[{text}]", "fills")
    outcome = read_item(item, "live", NOW)
    assert isinstance(outcome, Rejected)
    assert outcome.reason in (
        Reason.PRICE_UNREADABLE,
        Reason.PRICE_OUT_OF_RANGE,
        Reason.PRICE_TOO_FINE,
    )


def test_legacy_price_is_not_read_beside_another_price() -> None:
    assert fill_of(LEGACY | {"price": 0.99}).yes_price_dollars == Decimal("0.41")


BROKEN_VALUES = {
    "a float": "0.25",
    "NaN": "NaN",
    "minus infinity": "-Infinity",
    "a huge number": "1e400",
    "a huge number as text": '"1e400"',
    "digits without end": "9" * 5000,
    "digits without end as text": '"' + "9" * 5000 + '"',
    "a number with an exponent as text": '"1e-1"',
    "NaN as text": '"NaN"',
    "minus one": "-1",
    "minus one as text": '"-1"',
    "true": "true",
    "a list": "[1]",
    "an object": '{"a": 1}',
    "10 MB of text": '"' + "x" * 10_000_000 + '"',
    "10 MB of digits": '"' + "7" * 10_000_000 + '"',
    "space around it": '" 0.25 "',
    "other digits": '"\u0660.\u0662"',
    "a sign": '"+0.25"',
}


NUMBER_REASONS = {
    "count_fp": {Reason.QUANTITY_UNREADABLE, Reason.QUANTITY_OUT_OF_RANGE},
    "count": {Reason.QUANTITY_UNREADABLE, Reason.QUANTITY_OUT_OF_RANGE},
    "yes_price_dollars": {
        Reason.PRICE_UNREADABLE,
        Reason.PRICE_OUT_OF_RANGE,
        Reason.PRICES_DO_NOT_ADD_UP,
    },
    "yes_price": {Reason.PRICE_UNREADABLE, Reason.PRICE_OUT_OF_RANGE, Reason.PRICES_DO_NOT_ADD_UP},
    "fee_cost": {Reason.FEE_UNREADABLE, Reason.FEE_OUT_OF_RANGE},
    "subaccount_number": {Reason.SUBACCOUNT_UNREADABLE},
    "exchange_index": {Reason.SHARD_UNREADABLE},
    "ts": {Reason.TIME_UNREADABLE, Reason.TIME_TOO_EARLY},
}
NUMBER_REASONS["no_price_dollars"] = NUMBER_REASONS["yes_price_dollars"]
NUMBER_REASONS["yes_price_fixed"] = NUMBER_REASONS["yes_price_dollars"]
NUMBER_REASONS["no_price_fixed"] = NUMBER_REASONS["yes_price_dollars"]
NUMBER_REASONS["no_price"] = NUMBER_REASONS["yes_price"]


NUMBERS = [
    *((CURRENT, key) for key in NUMBER_REASONS if key in CURRENT),
    *((TRANSITIONAL, key) for key in ("count_fp", "count", "yes_price_dollars", "yes_price_fixed")),
    *((FIXED_ONLY, key) for key in ("yes_price_fixed", "no_price_fixed", "yes_price")),
    *((README_ERA, key) for key in ("count", "yes_price", "no_price")),
]


def broken(payload: dict[str, Any], key: str, literal: str) -> Fill | Rejected:
    text = json.dumps(payload | {key: "HERE"}).replace('"HERE"', literal)
    (item,), _ = decode_listing(f"[{text}]", "fills")
    return read_item(item, "live", NOW)


# One number broken


@pytest.mark.parametrize("what", BROKEN_VALUES)
def test_one_broken_number_condemns_a_fill(what: str) -> None:
    for payload, key in NUMBERS:
        outcome = broken(payload, key, BROKEN_VALUES[what])
        assert isinstance(outcome, Rejected), (key, outcome[:10])
        assert outcome.reason in NUMBER_REASONS[key], (key, outcome.reason)
        assert outcome.claims_fill


@pytest.mark.parametrize("empty", ['""', "null"])
def test_an_empty_number_counts_as_absent(empty: str) -> None:
    for payload, key in NUMBERS:
        outcome = broken(payload, key, empty)
        gone = read(without(payload, key))
        if isinstance(gone, Fill):
            assert outcome._replace(raw_json="") == gone._replace(raw_json=""), key
        else:
            assert isinstance(outcome, Rejected), key
            assert outcome.reason is gone.reason


def test_ten_megabytes_of_text_where_an_id_was_due_are_refused() -> None:
    long = '"' + "x" * 10_000_000 + '"'
    for key in ("fill_id", "order_id", "ticker"):
        outcome = broken(CURRENT, key, long)
        assert isinstance(outcome, Rejected), key
        assert outcome.reason is Reason.TEXT_TOO_LONG


@pytest.mark.parametrize("key", ["fill_id", "trade_id", "order_id", "ticker", "market_ticker"])
@pytest.mark.parametrize("value", [5, True, ["a"], {"a": "b"}])
def test_an_id_or_ticker_that_is_no_text_condemns_a_fill(key: str, value: object) -> None:
    wanted = Reason.TICKER_UNREADABLE if "ticker" in key else Reason.ID_UNREADABLE
    assert reason_of(CURRENT | {key: value}) is wanted


# Time


@pytest.mark.parametrize(
    ("sent", "micros"),
    [
        ("2026-11-20T14:31:09Z", 0),
        ("2026-11-20T14:31:09.5Z", 500_000),
        ("2026-11-20T14:31:09.59399Z", 593_990),
        ("2026-11-20T14:31:09.000001Z", 1),
        ("2026-11-20T14:31:09.123456789Z", 123_456),
        ("2026-11-20T15:31:09.25+01:00", 250_000),
        ("2026-11-20T09:31:09-05:00", 0),
    ],
)
def test_event_time_is_exact_to_the_microsecond_in_any_zone(sent: str, micros: int) -> None:
    fill = fill_of(CURRENT | {"created_time": sent})
    assert fill.executed_at == datetime(2026, 11, 20, 14, 31, 9, micros, tzinfo=UTC)
    assert fill.executed_at.utcoffset() == timedelta(0)


@pytest.mark.parametrize("key", ["created_time", "ts", "timestamp"])
@pytest.mark.parametrize(
    ("sent", "micros"), [(1795185069, 0), (1795185069000, 0), (1795185069123, 123_000)]
)
def test_epoch_numbers_are_seconds_or_milliseconds(key: str, sent: int, micros: int) -> None:
    fill = fill_of(without(CURRENT, "created_time", "ts") | {key: sent})
    assert fill.executed_at == datetime(2026, 11, 20, 14, 31, 9, micros, tzinfo=UTC)


def test_created_time_wins_over_ts_and_ts_over_timestamp() -> None:
    times = {"created_time": "2026-11-20T14:31:09.5Z", "ts": 1795185070, "timestamp": 1795185071}
    assert fill_of(CURRENT | times).executed_at.microsecond == 500_000
    times["created_time"] = None
    assert fill_of(CURRENT | times).executed_at.second == 10


@pytest.mark.parametrize(
    "sent",
    [
        *("2026-02-31T00:00:00Z", "2026-11-20 14:31:09Z", "2026-11-20", "2026-11-20T14:31:09"),
        *("0000-01-01T00:00:00Z", "0001-01-01T00:00:00+10:00", "20261120T143109Z", "1795185069"),
        *("2026-11-20T14:31:09+99:00", "\u0662026-11-20T14:31:09Z", ""),
        pytest.param("x" * 10_000_000, id="10 MB of text"),
        *(0, -1795185069, 10**18, 10**400, 1795185069.5, True, [1795185069], {}),
    ],
)
def test_a_time_that_is_no_instant_is_never_guessed_from_the_clock(sent: object) -> None:
    payload = without(CURRENT, "ts") | {"created_time": sent}
    assert reason_of(payload) in (Reason.TIME_UNREADABLE, Reason.NO_EVENT_TIME)


@pytest.mark.parametrize(
    ("moment", "reason"),
    [
        (datetime(2021, 1, 1, tzinfo=UTC), Reason.TIME_TOO_EARLY),
        (datetime(2021, 1, 1, microsecond=1, tzinfo=UTC), None),
        (NOW + timedelta(minutes=5), None),
        (NOW + timedelta(minutes=5, microseconds=1), Reason.TIME_IN_THE_FUTURE),
    ],
)
def test_event_time_is_gated_on_both_sides(moment: datetime, reason: Reason | None) -> None:
    outcome = read(CURRENT | {"created_time": moment.isoformat()})
    assert (outcome.reason if isinstance(outcome, Rejected) else None) is reason


def test_a_refused_item_keeps_its_event_time_where_one_can_be_read() -> None:
    outcome = read(CURRENT | {"count_fp": "many"})
    assert isinstance(outcome, Rejected)
    assert outcome.executed_at == datetime(2026, 11, 20, 14, 31, 9, 417, tzinfo=UTC)
    outcome = read(CURRENT | {"created_time": "yesterday"})
    assert isinstance(outcome, Rejected)
    assert outcome.executed_at == datetime(2026, 11, 20, 14, 31, 9, tzinfo=UTC)
    outcome = read(without(CURRENT, "ts") | {"created_time": "yesterday"})
    assert isinstance(outcome, Rejected)
    assert outcome.executed_at is None


# Direction


@pytest.mark.parametrize("action", ["buy", "sell", "", None, "anything"])
@pytest.mark.parametrize(("outcome", "book"), [("yes", "bid"), ("no", "ask")])
def test_action_never_changes_the_direction(outcome: str, book: str, action: str | None) -> None:
    for sent in (
        {"outcome_side": outcome, "book_side": book},
        {"outcome_side": outcome, "book_side": None},
        {"outcome_side": None, "book_side": book},
        {"outcome_side": outcome, "book_side": book, "side": "yes"},
        {"outcome_side": outcome, "book_side": book, "side": "no"},
    ):
        fill = fill_of(CURRENT | sent | {"action": action})
        assert (fill.outcome, fill.direction_inferred) == (outcome, False)
        assert fill.action == (action or "")
        assert fill.yes_price_dollars == Decimal("0.61")


@pytest.mark.parametrize("action", ["buy", "sell"])
@pytest.mark.parametrize("side", ["yes", "no"])
def test_side_alone_tells_the_outcome_and_is_marked_as_inferred(side: str, action: str) -> None:
    payload = without(CURRENT, "outcome_side", "book_side") | {"side": side, "action": action}
    fill = fill_of(payload)
    assert (fill.outcome, fill.direction_inferred) == (side, True)


@pytest.mark.parametrize(
    "sent",
    [{"outcome_side": "yes", "book_side": "ask"}, {"outcome_side": "no", "book_side": "bid"}],
)
def test_outcome_and_book_side_must_agree(sent: dict[str, str]) -> None:
    assert reason_of(CURRENT | sent) is Reason.DIRECTION_CONTRADICTS


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *itertools.product(("outcome_side", "book_side", "side"), ("YES", "both")),
        *itertools.product(
            ("outcome_side", "book_side", "side", "action"), (1, True, ["yes"], {"yes": 1})
        ),
    ],
)
def test_a_direction_that_is_no_direction_is_refused(key: str, value: object) -> None:
    assert reason_of(CURRENT | {key: value}) is Reason.DIRECTION_UNREADABLE


# Identity


def test_an_item_without_identity_gets_one_of_its_content() -> None:
    fill = fill_of(NAKED)
    assert fill.id_synthetic
    assert fill.fill_id
    backwards = fill_of(dict(reversed(NAKED.items())))
    assert backwards.fill_id == fill.fill_id
    assert fill_of(NAKED).fill_id == fill.fill_id
    for change in (
        {"order_id": "o-2"},
        {"created_time": "2026-11-20T14:31:09.000001Z"},
        {"count_fp": "1.01"},
        {"yes_price_dollars": "0.5001"},
        {"outcome_side": "no"},
        {"ticker": "KXOTHER"},
    ):
        assert fill_of(NAKED | change).fill_id != fill.fill_id


def test_the_same_numbers_spelled_otherwise_make_the_same_synthetic_id() -> None:
    spelled = NAKED | {"count_fp": "1", "yes_price_dollars": "0.50"}
    assert fill_of(spelled).fill_id == fill_of(NAKED).fill_id
    cents = without(NAKED, "yes_price_dollars") | {"yes_price": 50}
    assert fill_of(cents).fill_id == fill_of(NAKED).fill_id


def test_fill_id_wins_over_trade_id_and_an_empty_one_is_absent() -> None:
    assert fill_of(CURRENT | {"trade_id": "t"}).fill_id == CURRENT["fill_id"]
    fill = fill_of(CURRENT | {"fill_id": "", "trade_id": "t"})
    assert (fill.fill_id, fill.id_synthetic) == ("t", False)


def test_one_id_on_two_orders_is_two_fills() -> None:
    assert fill_of(CURRENT).key != fill_of(CURRENT | {"order_id": "another"}).key


@pytest.mark.parametrize(
    "text",
    [
        "'; DROP TABLE mm_fills; --",
        "tab\tnewline\nnul\0back\\slash`quote'\"",
        "{fill_id:String}",
        "\U0001f9ff\u00e9\u4e2d\u202e\ufeff",
        "%s %(x)s {0}",
    ],
)
def test_hostile_text_is_kept_as_it_came(text: str) -> None:
    fill = fill_of(CURRENT | {"ticker": text, "fill_id": text, "order_id": text, "action": text})
    assert (fill.ticker, fill.fill_id, fill.order_id, fill.action) == (text, text, text, text)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("fill_id", Reason.ID_UNREADABLE),
        ("trade_id", Reason.ID_UNREADABLE),
        ("order_id", Reason.ID_UNREADABLE),
        ("client_order_id", Reason.ID_UNREADABLE),
        ("ticker", Reason.TICKER_UNREADABLE),
        ("market_ticker", Reason.TICKER_UNREADABLE),
        ("action", Reason.DIRECTION_UNREADABLE),
        ("outcome_side", Reason.DIRECTION_UNREADABLE),
        ("count_fp", Reason.QUANTITY_UNREADABLE),
        ("created_time", Reason.TIME_UNREADABLE),
    ],
)
def test_half_a_character_is_refused_where_text_is_stored(key: str, reason: Reason) -> None:
    assert reason_of(CURRENT | {key: "KX\ud83d"}) is reason


def test_half_a_character_in_a_key_or_an_unread_value_does_no_harm() -> None:
    outcome = read({"\ud83d": 1, "fill_id": "f"})
    assert isinstance(outcome, Rejected)
    assert [key.encode() for key in outcome.keys] == [b"\\ud83d", b"fill_id"]
    assert fill_of(CURRENT | {"note": "\ud83d"}).raw_json.isascii()


known_dicts = st.dictionaries(
    st.sampled_from(sorted(KNOWN_KEYS | {"status", "rfq_id", "realized_pnl"})),
    scalars | anything,
    max_size=20,
)


def holds_as_a_fill(outcome: Fill) -> bool:
    """What must be true of anything stored, said once more in other words."""
    fill = values_of(outcome)
    cents = [fill.yes_price_dollars * 10**6, fill.no_price_dollars * 10**6]
    return (
        gate(outcome, NOW) is None
        and fill.yes_price_dollars + fill.no_price_dollars == 1
        and 0 < fill.yes_price_dollars < 1
        and all(price == int(price) for price in cents)
        and fill.contracts > 0
        and fill.contracts * 100 == int(fill.contracts * 100)
        and fill.outcome in ("yes", "no")
        and bool(fill.fill_id and fill.order_id and fill.ticker)
        and datetime(2021, 1, 1, tzinfo=UTC) < fill.executed_at <= NOW + timedelta(minutes=5)
        and fill.executed_at.tzinfo is UTC
        and (fill.fee_dollars is None or fill.fee_dollars >= 0)
        and all(text.encode() is not None for text in (fill.fill_id, fill.order_id, fill.ticker))
    )


# Anything at all


@settings(max_examples=200, deadline=None)
@given(anything | known_dicts)
def test_any_json_is_a_fill_or_a_refusal_and_never_an_error(item: Any) -> None:
    outcome = read_item(literal(item), "historical", NOW)
    if isinstance(outcome, Fill):
        assert holds_as_a_fill(outcome)
    else:
        assert isinstance(outcome, Rejected)
        assert outcome.stage is STAGE_OF[outcome.reason]
        assert len(outcome.fingerprint) == 32
        "".join(outcome.keys).encode()


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(list(ERAS.values())),
    st.lists(
        st.tuples(
            st.sampled_from(sorted(KNOWN_KEYS)),
            anything
            | st.decimals(-2, 2, places=7).map(str)
            | st.integers(-2, 200)
            | st.sampled_from(["0.00", "1.00", "yes", "no", "bid", "ask", "-0", "0.0000001"])
            | st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
        ),
        min_size=1,
        max_size=3,
    ),
    st.randoms(use_true_random=False),
)
def test_a_mutated_fill_is_stored_only_if_it_still_holds(
    payload: dict[str, Any], changes: list[tuple[str, Any]], random: Any
) -> None:
    text = text_of(payload)
    value = json.loads(text, parse_float=Decimal)
    mutated = {**value, **dict(changes)}
    keys = list(mutated)
    random.shuffle(keys)
    outcome = read_item(literal(mutated), "live", NOW)
    shuffled = read_item(literal({key: mutated[key] for key in keys}), "live", NOW)
    if isinstance(outcome, Fill):
        assert holds_as_a_fill(outcome)
        assert isinstance(shuffled, Fill)
        assert shuffled._replace(raw_json=outcome.raw_json) == outcome
    else:
        assert isinstance(shuffled, Rejected)
        assert shuffled.fingerprint == outcome.fingerprint
