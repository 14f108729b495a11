"""Items read as a page come to the very fills and refusals that each comes to by itself."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Iterator, Sequence
from datetime import timedelta
from decimal import Decimal
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.odd_items import ODD_LITERALS, ODD_VALUES, literal, odd_page
from support.payloads import CURRENT, ERAS, NOW, SPARE, anything
from support.together import read_together, row_of, rows_of

from kalshi_fills.pipeline import batch, fills, page, values
from kalshi_fills.pipeline.batch import Batch
from kalshi_fills.pipeline.fills import KNOWN_KEYS, Fill
from kalshi_fills.pipeline.page import read_page
from kalshi_fills.pipeline.parse import read_item
from kalshi_fills.pipeline.stages import Counts
from kalshi_fills.pipeline.window import Window
from kalshi_fills.practice.account import generate_account
from kalshi_fills.practice.ledger import ERAS as PRACTICE_ERAS

PAGE_ITEMS = 1_000


def many(changes: dict[str, Any] | None = None, count: int = 20) -> list[dict[str, Any]]:
    return [
        CURRENT | {"fill_id": f"fill-{n}", "trade_id": f"fill-{n}"} | (changes or {})
        for n in range(count)
    ]


def texts(payloads: Sequence[Any]) -> list[str]:
    return list(map(literal, payloads))


@pytest.fixture
def read_alone(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The items that had to be read by themselves."""
    found: list[str] = []

    def reading(text: str, *rest: Any) -> Any:
        found.append(text)
        return read_item(text, *rest)

    monkeypatch.setattr(page, "read_item", reading)
    return found


# A page is what its items are


def read_odd_pages(seed: int, count: int) -> Iterator[Fill]:
    """Read pages of so many odd items together, yield the fills."""
    rng = random.Random(seed)
    while count > 0:
        items = odd_page(rng)
        count -= len(items)
        yield from read_together(items, rng.choice(("live", "historical"))).batch.fills()


def test_odd_items_of_any_kind_are_read_together_as_each_alone() -> None:
    fills = sum(1 for _ in read_odd_pages(1, 4_000))

    assert 1_500 < fills < 3_500


@pytest.mark.torture
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("seed", range(2, 12))
def test_200_000_odd_items_of_any_kind_are_read_together_as_each_alone(seed: int) -> None:
    fills = sum(1 for _ in read_odd_pages(seed, 20_000))

    assert 7_500 < fills < 17_500


@pytest.mark.parametrize("key", sorted(KNOWN_KEYS))
def test_an_odd_value_that_all_items_have_or_one_of_them(key: str) -> None:
    plain = literal(CURRENT)
    odd = [literal(CURRENT | {key: value}) for value in ODD_VALUES]
    odd += [literal(CURRENT | {key: "HERE"}).replace('"HERE"', text) for text in ODD_LITERALS]
    for item in odd:
        read_together([item, item])
        read_together([plain, item, plain])
    read_together(odd)


@pytest.mark.parametrize("key", sorted(CURRENT))
def test_one_missing_key(key: str) -> None:
    payloads = [{k: v for k, v in payload.items() if k != key} for payload in many()]
    read_together(texts(payloads))
    read_together(texts(payloads + many()))


def test_fills_with_junk_between_them() -> None:
    rng = random.Random(3)
    items = [literal(payload) for payload in many(count=200)]
    for _ in range(3):
        for item in odd_page(rng):
            items.insert(rng.randrange(len(items)), item)
    read_together(items)


def test_texts_that_are_too_long_only_together() -> None:
    payloads = many({"action": "a" * 100, "ticker": "t" * 200, "order_id": "o" * 200})
    payloads[3] |= {"ticker": "t" * 800}
    payloads[5] |= {"action": "a" * 900}
    assert len(read_together(texts(payloads)).rejected) == 2


odd = (
    anything
    | st.decimals(-2, 2, places=7).map(str)
    | st.integers(-2, 300)
    | st.sampled_from(["0.00", "1.00", "yes", "no", "bid", "ask", "-0", "0.0000001", "1.5"])
    | st.datetimes().map(lambda moment: moment.isoformat() + "Z")
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.sampled_from([CURRENT, SPARE, *ERAS.values()]),
    st.lists(st.tuples(st.sampled_from(sorted(KNOWN_KEYS)), odd), max_size=2),
    st.lists(
        st.tuples(
            st.integers(0, 9), st.sampled_from(sorted(CURRENT)), odd | st.just(Decimal("0.5"))
        ),
        max_size=2,
    ),
    st.lists(anything, max_size=3),
)
def test_any_run_of_items(
    payload: dict[str, Any],
    of_all: list[tuple[str, Any]],
    of_one: list[tuple[int, str, Any]],
    between: list[Any],
) -> None:
    values: list[Any] = [payload | dict(of_all) for _ in range(10)]
    for index, key, value in of_one:
        values[index][key] = value
    read_together(texts([*values[:5], *between, *values[5:]]))


# Today's fills are read column by column


@pytest.mark.parametrize("era", PRACTICE_ERAS)
def test_accounts_of_every_era(era: Any) -> None:
    account = generate_account(
        7, 2_000, start=NOW - timedelta(days=9), end=NOW - timedelta(days=1), eras=era
    )
    for start in range(0, 2_000, PAGE_ITEMS):
        part = account.fills[start : start + PAGE_ITEMS]
        outcome = read_together([fill.payload_json(era) for fill in part])
        assert len(outcome.batch) == len(part)


@pytest.mark.parametrize("era", ["current", "current_minimal"])
def test_no_fill_of_today_is_read_by_itself(era: Any, read_alone: list[str]) -> None:
    account = generate_account(
        7, 3_000, start=NOW - timedelta(days=9), end=NOW - timedelta(days=1), eras=era
    )
    items = [fill.payload_json(era) for fill in account.fills]

    assert len(read_page(items, "live", NOW, Counts()).batch) == 3_000
    assert read_alone == []


@pytest.mark.parametrize(
    "changes",
    [
        {"fee_cost": None},
        {"fee_cost": "0.1"},
        {"count_fp": "4"},
        {"created_time": "2026-11-20T14:31:09Z"},
        {"created_time": "2026-11-20T14:31:09.1234567Z"},
        {"created_time": "2024-02-29T23:59:59.5Z"},
        {"yes_price_dollars": "0.610001", "no_price_dollars": "0.389999"},
        {"action": ""},
        {"side": None, "ts": None, "trade_id": None, "market_ticker": None},
    ],
    ids=json.dumps,
)
def test_nor_is_one_that_is_spelled_otherwise(
    changes: dict[str, Any], read_alone: list[str]
) -> None:
    items = texts(many(changes) + many())

    assert len(read_together(items).batch) == 40
    assert read_alone == []


def test_of_a_page_only_what_is_odd_is_read_by_itself(read_alone: list[str]) -> None:
    items = texts(many(count=300))
    odd_ones = texts(
        [
            CURRENT | {"new_key": 1},
            CURRENT | {"count_fp": 4},
            CURRENT | {"count_fp": "0.00"},
            CURRENT | {"created_time": "2027-01-01T00:00:00.000000Z"},
            CURRENT | {"ticker": "KXÅ"},
            CURRENT | {"no_price_dollars": "0.4000"},
            ERAS["legacy"],
            None,
        ]
    )
    for place, item in enumerate(odd_ones):
        items.insert(place * 37, item)

    outcome = read_page(items, "live", NOW, Counts())

    assert sorted(read_alone) == sorted(odd_ones)
    assert (len(outcome.batch), len(outcome.rejected)) == (303, 5)


@pytest.mark.parametrize("module", [batch, fills, page, values])
def test_what_is_remembered_of_texts_is_bounded(module: ModuleType) -> None:
    caches = [one for one in vars(module).values() if hasattr(one, "cache_info")]

    assert caches
    assert all(cache.cache_info().maxsize <= 1 << 15 for cache in caches)


def test_nothing_is_remembered_of_what_is_refused() -> None:
    letters = 100_000
    kept: list[int] = []
    for key in ("action", "ticker", "count_fp", "fee_cost", "yes_price_dollars", "created_time"):
        tracemalloc.start()
        for number in range(20):
            items = texts([CURRENT | {key: str(number).ljust(letters, "x")}])
            assert len(read_page(items, "live", NOW, Counts()).rejected) == 1
        kept.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    assert max(kept) < 5 * letters


# A batch


def batch_of_many() -> tuple[Batch, list[Fill]]:
    items = [item for seed in range(5) for item in odd_page(random.Random(seed))]
    fills = [
        one for one in (read_item(text, "live", NOW) for text in items) if isinstance(one, Fill)
    ]
    return Batch.of(fills), fills


def test_a_batch_holds_what_its_fills_say() -> None:
    batch, fills = batch_of_many()

    assert rows_of(batch) == [row_of(fill) for fill in fills]
    assert list(batch.fills()) == fills
    assert [batch.key(place) for place in range(len(batch))] == [fill.key for fill in fills]
    assert batch.id_synthetic.count("true") == sum(fill.id_synthetic == "true" for fill in fills)
    assert len(Batch()) == 0
    assert list(Batch().fills()) == []


def test_rows_are_picked_left_out_and_added_whole() -> None:
    batch, fills = batch_of_many()
    rows = rows_of(batch)

    assert rows_of(batch.at([4, 1, 1])) == [rows[4], rows[1], rows[1]]
    assert rows_of(batch.without({0, 2})) == [rows[1], *rows[3:]]
    assert rows_of(batch.at([])) == []
    both = batch.at([0, 1])
    both.extend(batch.at([2, 3]))
    both.add(fills[5])
    assert rows_of(both) == [*rows[:4], rows[5]]
    assert rows_of(batch) == rows


def test_the_rows_of_a_window_are_those_whose_time_it_holds() -> None:
    batch, fills = batch_of_many()
    times = sorted({fill.content.moment for fill in fills})
    middle, micro = times[len(times) // 2], timedelta(microseconds=1)
    starts = [None, times[0], times[0] + micro, middle, middle + micro]
    for start in starts:
        for end in (middle, middle + micro, times[-1], times[-1] + micro):
            window = Window(start, end)
            held = [row_of(fill) for fill in fills if window.holds(fill.content.moment)]
            assert rows_of(batch.within(window)) == held
    assert len(Batch().within(Window(None, NOW))) == 0
