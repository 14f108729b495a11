"""Items read together come to the very fills and refusals that each comes to by itself."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.payloads import CURRENT, ERAS, NOW, SPARE, anything

from kalshi_fills.exchange.decode import Item, decode_listing
from kalshi_fills.pipeline import batch as alike
from kalshi_fills.pipeline.batch import read_items
from kalshi_fills.pipeline.fills import KNOWN_KEYS, Fill
from kalshi_fills.pipeline.parse import read_item
from kalshi_fills.practice.account import generate_account
from kalshi_fills.practice.ledger import Era
from kalshi_fills.practice.lookalikes import junk_items


def items_of(payloads: Iterable[Any]) -> list[Item]:
    return decode_listing(json.dumps({"fills": list(payloads)}), "fills")[0]


def assert_as_by_itself(items: list[Item]) -> None:
    told = read_items(items, "live", NOW)
    alone = [read_item(value, text, "live", NOW) for value, text in items]
    assert told == alone
    # Equal is not the same: True equals 1, and 0.50 equals 0.5.
    assert list(map(repr, told)) == list(map(repr, alone))


def many(changes: dict[str, Any] | None = None, count: int = 20) -> list[dict[str, Any]]:
    return [
        CURRENT | {"fill_id": f"fill-{n}", "trade_id": f"fill-{n}"} | (changes or {})
        for n in range(count)
    ]


@pytest.fixture
def read_alone(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The items that had to be read by themselves; what was known of kinds is forgotten before."""
    alike._known_patterns.cache_clear()
    found: list[object] = []

    def reading(value: Any, *rest: Any) -> Any:
        found.append(value)
        return read_item(value, *rest)

    monkeypatch.setattr(alike, "read_item", reading)
    return found


def test_of_many_items_of_a_kind_one_is_read_by_itself(read_alone: list[object]) -> None:
    outcomes = read_items(items_of(many(count=1000)), "live", NOW)

    assert len({outcome.fill_id for outcome in outcomes if isinstance(outcome, Fill)}) == 1000
    assert len(read_alone) == 1


@pytest.mark.parametrize("era", get_args(Era))
def test_accounts_of_every_era(era: Era) -> None:
    account = generate_account(
        7, 3_000, start=NOW - timedelta(days=9), end=NOW - timedelta(days=1), eras=era
    )
    for start in range(0, 3_000, 1_000):
        part = account.fills[start : start + 1_000]
        assert_as_by_itself(items_of(json.loads(fill.payload_json(era)) for fill in part))


def test_todays_fills_are_read_together(read_alone: list[object]) -> None:
    account = generate_account(
        7, 3_000, start=NOW - timedelta(days=9), end=NOW - timedelta(days=1), eras="current"
    )
    read_items(
        items_of(json.loads(fill.payload_json("current")) for fill in account.fills), "live", NOW
    )

    assert len(read_alone) < 1_000


def test_fills_with_junk_between_them() -> None:
    rng = random.Random(3)
    payloads: list[Any] = []
    for (_, junk), fill in zip(junk_items(5, 400), many(count=400), strict=True):
        payloads += [fill] * rng.randrange(1, 30)
        payloads.append(junk)

    assert_as_by_itself(items_of(payloads))


ODD_VALUES = [
    *(None, True, False, [], {}, [1], {"a": 1}),
    *(0, 1, -1, 63, 255, 256, 1795185069, 10**11, 10**20, 0.5),
    *("", "x", " ", "yes", "no", "bid", "ask", "é", "\ud800", "y" * 201, "y" * 1025),
    *("0", "-0", "0.00", "0.001", "1.00", "1", "007.5", "1e2", "0.0000001", "0.1234567"),
    *("1234567890123456", "12345678901234567", "9999999999999999.99"),
    *("999999999999.999999", "1000000000000"),
    *("2026-11-20T14:31:09Z", "2026-11-20t14:31:09.1z", "2026-11-20T14:31:09.1234567Z"),
    *("2026-11-20T14:31:09+02:00", "2026-11-20T14:31:09", "20261120T143109Z"),
    *("2026-02-31T00:00:00Z", "2020-12-31T23:59:59Z"),
    *("2026-11-23T12:05:00Z", "2026-11-23T12:05:00.000001Z"),
]


@pytest.mark.sampled(4)
@pytest.mark.parametrize("key", sorted(KNOWN_KEYS))
def test_an_odd_value_that_all_items_have_or_one_of_them(key: str) -> None:
    for value in ODD_VALUES:
        assert_as_by_itself(items_of(many({key: value})))
        payloads = many()
        payloads[11] |= {key: value}
        assert_as_by_itself(items_of(payloads))


@pytest.mark.parametrize("key", sorted(CURRENT))
def test_one_missing_key(key: str) -> None:
    payloads = [{k: v for k, v in payload.items() if k != key} for payload in many()]
    assert_as_by_itself(items_of(payloads))


def test_texts_that_are_too_long_together_though_those_of_the_first_of_the_kind_are_not() -> None:
    payloads = many({"action": "a" * 800})
    for payload in payloads[1:]:
        payload |= {"ticker": "t" * 200, "order_id": "o" * 200}
    assert_as_by_itself(items_of(payloads))


def test_what_is_known_of_kinds_is_bounded() -> None:
    alike._known_patterns.cache_clear()
    for start in range(0, alike._KINDS_KEPT + 2_000, 1_000):
        payloads = [CURRENT | {"post_position_fp": str(start + n)} for n in range(1_000)]
        assert_as_by_itself(items_of(payloads))
    (value, _) = items_of(payloads)[0]
    known = alike._known_patterns((tuple(value), tuple(map(type, value.values()))))
    assert 0 < len(known) <= alike._KINDS_KEPT
    assert not any(pattern.raw_json for pattern in known.values())


odd = (
    anything
    | st.decimals(-2, 2, places=7).map(str)
    | st.integers(-2, 300)
    | st.sampled_from(["0.00", "1.00", "yes", "no", "bid", "ask", "-0", "0.0000001", "1.5"])
    | st.datetimes().map(lambda moment: moment.isoformat() + "Z")
)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from([CURRENT, SPARE, *ERAS.values()]),
    st.lists(st.tuples(st.sampled_from(sorted(KNOWN_KEYS)), odd), max_size=2),
    st.lists(
        st.tuples(
            st.integers(0, 29), st.sampled_from(sorted(CURRENT)), odd | st.just(Decimal("0.5"))
        ),
        max_size=2,
    ),
)
def test_any_run_of_items(
    payload: dict[str, Any],
    of_all: list[tuple[str, Any]],
    of_one: list[tuple[int, str, Any]],
) -> None:
    values = [payload | dict(of_all) for _ in range(30)]
    for index, key, value in of_one:
        values[index][key] = value
    assert_as_by_itself([Item(value, f"text {index}") for index, value in enumerate(values)])


@settings(max_examples=50, deadline=None)
@given(st.lists(anything, max_size=30))
def test_any_items_at_all(values: list[Any]) -> None:
    assert_as_by_itself([Item(value, "") for value in values])
