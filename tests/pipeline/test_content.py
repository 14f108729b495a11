"""Items in, fills and refusals out: nothing lost, nothing dependent on the order of arrival."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fills import FILL, Values, values_of

from kalshi_fills.errors import CountsError
from kalshi_fills.pipeline.content import (
    completed,
    contradictions,
    differences,
    digest,
    key_hash,
    rank,
)
from kalshi_fills.pipeline.fills import (
    CONTENT_FIELDS,
    Content,
    Fill,
    FillKey,
    Reason,
    Rejected,
    Stage,
)
from kalshi_fills.pipeline.page import read_page
from kalshi_fills.pipeline.parse import read_item
from kalshi_fills.pipeline.seen import HourDigest, HourlyDigests, SeenFills
from kalshi_fills.pipeline.stages import Counts, Refusals, percent
from kalshi_fills.practice.lookalikes import JUNK_KINDS, junk_items

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

ARCHIVED = FILL._replace(
    action="",
    fee_dollars=None,
    is_taker=None,
    subaccount_number=None,
    exchange_index=None,
    direction_inferred=True,
    source="historical",
)
PAYLOAD: dict[str, Any] = {
    "fill_id": "f-1",
    "order_id": "o-1",
    "ticker": "KXTEMP-26NOV20-B52.5",
    "created_time": "2026-11-20T14:31:09.000417Z",
    "outcome_side": "no",
    "book_side": "ask",
    "yes_price_dollars": "0.6100",
    "no_price_dollars": "0.3900",
    "count_fp": "4.50",
    "fee_cost": "0.074939",
    "is_taker": True,
}

known_values = st.sampled_from(
    ["f-1", "f-2", "o-1", "yes", "no", "bid", "ask", "0.61", "0.39", "2.5", "", None, 5, True]
)
payloads = st.dictionaries(st.sampled_from(sorted(PAYLOAD)), known_values, max_size=4).map(
    lambda changes: {**PAYLOAD, **changes}
)
junk = st.sampled_from([value for _, value in junk_items(7, len(JUNK_KINDS))])
scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.decimals()
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
listings = st.lists(payloads | junk | anything, max_size=15)


def texts_of(items: list[Any]) -> list[str]:
    return [json.dumps(item, default=str) for item in items]


# Counts


@settings(max_examples=150, deadline=None)
@given(listings, listings)
def test_whatever_comes_in_is_accounted_for_stage_by_stage(
    first: list[Any], second: list[Any]
) -> None:
    counts = Counts()
    fills: list[Fill] = []
    rejected: list[Rejected] = []
    for items in (first, second):
        outcome = read_page(texts_of(items), "live", NOW, counts)
        fills += outcome.batch.fills()
        rejected += outcome.rejected
    fell = Counter(refusal.stage for refusal in rejected)
    assert counts.n_api == len(first) + len(second) == len(fills) + len(rejected)
    assert counts.n_raw == counts.n_api - fell[Stage.RAW]
    assert counts.n_real == counts.n_raw - fell[Stage.REAL]
    assert counts.n_valid == counts.n_real - fell[Stage.VALID]
    assert counts.n_gated == counts.n_valid - fell[Stage.GATED] == len(fills)
    assert counts.n_rejected == len(rejected)
    assert (
        counts.n_api
        >= counts.n_raw
        >= counts.n_real
        >= counts.n_valid
        >= counts.n_gated
        >= counts.n_inserted
    )
    counts.n_new += len(fills)
    counts.check()
    counts.n_new -= 1
    counts.n_corrected += 1
    counts.check()


@settings(max_examples=100, deadline=None)
@given(listings, st.randoms(use_true_random=False))
def test_what_comes_out_does_not_depend_on_the_order(items: list[Any], shuffler: Any) -> None:
    shuffled = list(items)
    shuffler.shuffle(shuffled)

    def outcome(listed: list[Any]) -> tuple[Counts, Counter[Any], Counter[Any]]:
        counts = Counts()
        batch, rejected = read_page(texts_of(listed), "live", NOW, counts)
        return (
            counts,
            Counter(batch.fills()),
            Counter((item.fingerprint, item.reason, item.claims_fill) for item in rejected),
        )

    assert outcome(items) == outcome(shuffled)


def test_plain_fills_and_refusals_keep_the_order_in_which_they_came() -> None:
    items = [PAYLOAD | {"fill_id": name} for name in ("c", "a", "b", "a", "d")]
    for price in ("0.6100", "0.6200"):  # the second one does not add up
        items[3]["yes_price_dollars"] = price
        batch, rejected = read_page(texts_of([*items, None, 1, "x"]), "historical", NOW, Counts())
        assert batch.fill_id == ["c", "a", "b", *(["a"] if price == "0.6100" else []), "d"]
        assert [refusal.raw_json for refusal in rejected][:3] == ["null", "1", '"x"']
        assert set(batch.source) == {"historical"}


@pytest.mark.parametrize("name", ["n_new", "n_corrected", "n_known", "n_duplicate", "n_rejected"])
def test_an_item_lost_or_made_up_is_a_counts_error(name: str) -> None:
    whole = {"n_new": 1, "n_corrected": 2, "n_known": 3, "n_duplicate": 4, "n_rejected": 5}
    Counts(n_api=15, **whole).check()
    for change in (-1, 1):
        with pytest.raises(CountsError, match="do not add up: 15 items") as caught:
            Counts(n_api=15, **{**whole, name: whole[name] + change}).check()
        assert caught.value.exit_code == 6
        assert caught.value.hint


def test_counts_by_name_are_those_operators_grep_for() -> None:
    counts = Counts(n_api=8, n_raw=7, n_real=6, n_valid=5, n_gated=4, n_new=2, n_corrected=1)
    assert counts.as_dict() == {
        "n_api": 8,
        "n_raw": 7,
        "n_real": 6,
        "n_valid": 5,
        "n_gated": 4,
        "n_new": 2,
        "n_corrected": 1,
        "n_known": 0,
        "n_duplicate": 0,
        "n_rejected": 0,
        "n_inserted": 3,
    }


def test_pass_rates_compare_the_stages_they_are_named_after() -> None:
    assert Counts(n_api=8, n_raw=8, n_real=6, n_valid=3, n_gated=0).rates() == {
        "predicate_pass_rate": "75.0%",
        "validation_pass_rate": "50.0%",
        "gate_pass_rate": "0.0%",
    }
    assert set(Counts().rates().values()) == {"100.0%"}


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 0, "100.0%"),
        (5, 5, "100.0%"),
        (0, 5, "0.0%"),
        (1, 3, "33.3%"),
        (2, 3, "66.7%"),
        (999_999, 1_000_000, "99.9%"),
        (10**12 - 1, 10**12, "99.9%"),
        (1, 1_000_000, "0.0%"),
    ],
)
def test_only_a_full_share_reads_as_one_hundred(part: int, whole: int, text: str) -> None:
    assert percent(part, whole) == text


# Refusals


def refused(item: Any) -> Rejected:
    outcome = read_item(json.dumps(item), "live", NOW)
    assert isinstance(outcome, Rejected)
    return outcome


def test_refusals_are_summed_up_by_reason_in_the_order_of_the_stages() -> None:
    refusals = Refusals()
    for item in (
        PAYLOAD | {"count_fp": "0.00", "zzz": 1},
        PAYLOAD | {"fee_cost": "x"},
        {"status": "open", "b": 1},
        {"status": "open", "a": 1},
        None,
    ):
        refusals.add(refused(item))
    groups = refusals.groups()
    assert [(group.stage, group.reason, group.count) for group in groups] == [
        (Stage.RAW, Reason.NOT_AN_OBJECT, 1),
        (Stage.REAL, Reason.LOOKS_LIKE_ORDER, 2),
        (Stage.VALID, Reason.FEE_UNREADABLE, 1),
        (Stage.GATED, Reason.QUANTITY_OUT_OF_RANGE, 1),
    ]
    assert groups[0].keys == []
    assert groups[1].keys == ["a", "b", "status"]
    assert "zzz" in groups[3].keys


def test_memory_for_refusals_is_bounded_by_the_reasons() -> None:
    refusals = Refusals()
    for number in range(500):
        refusals.add(refused({"order_id": "o", "fill_id": "f", f"key_{number}": number}))
    (group,) = refusals.groups()
    assert group.count == 500
    assert len(group.keys) == 100
    assert len(refusals.drift().new_keys) <= 110


def test_drift_names_keys_that_no_fill_had_and_keys_that_are_gone() -> None:
    refusals = Refusals()
    renamed = {key: value for key, value in PAYLOAD.items() if key != "count_fp"}
    refusals.add(refused(renamed | {"quantity_fp": "4.50"}))
    refusals.add(refused({"status": "open", "not_a_fill": 1}))
    assert refusals.drift() == (["quantity_fp"], ["count_fp"])
    assert Refusals().drift() == ([], [])


# Content and digests


CHANGES: dict[str, dict[str, Any]] = {
    "ts": {"executed_at": FILL.executed_at + timedelta(microseconds=1)},
    "fill_id": {"fill_id": "f-2"},
    "exchange_order_id": {"order_id": "o-2"},
    "market_ticker": {"ticker": "KXOTHER"},
    "side": {"outcome": "yes"},
    "action": {"action": "buy"},
    "price_cents": {
        "yes_price_dollars": Decimal("0.609999"),
        "no_price_dollars": Decimal("0.390001"),
    },
    "size": {"contracts": Decimal("4.51")},
    "fee_dollars": {"fee_dollars": Decimal("0.074938")},
    "is_taker": {"is_taker": False},
    "subaccount_number": {"subaccount_number": 0},
    "exchange_index": {"exchange_index": 0},
    "direction_inferred": {"direction_inferred": True},
}
FOLLOWS = {
    "side": {"side", "outcome_side", "book_side", "price_cents"},
    "price_cents": {"price_cents", "yes_price_dollars", "no_price_dollars"},
}


def content_of(values: Values, **more: Any) -> Content:
    """Return what the item of a fill is read as."""
    fill = read_item(json.dumps(values.payload | more), "historical", NOW)
    assert isinstance(fill, Fill)
    return fill.content


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_any_content_field_changes_content_and_digest(name: str) -> None:
    changed = content_of(FILL._replace(**CHANGES[name]))
    moved = {
        field
        for field, before, now in zip(CONTENT_FIELDS, content_of(FILL), changed, strict=True)
        if before != now
    }
    assert moved == FOLLOWS.get(name, {name})
    assert digest(changed) != digest(content_of(FILL))


def test_every_content_field_is_changed_by_one_of_these() -> None:
    assert set().union(*(FOLLOWS.get(name, {name}) for name in CHANGES)) == set(CONTENT_FIELDS)


def test_what_is_not_content_changes_nothing() -> None:
    assert content_of(FILL, client_order_id="c", trade_id="t", new_key=1) == FILL.content


def test_numbers_spelled_otherwise_are_the_same_content() -> None:
    other = FILL._replace(
        yes_price_dollars=Decimal("0.61"),
        no_price_dollars=Decimal("0.390000"),
        contracts=Decimal("4.5"),
        fee_dollars=Decimal("0.0749390"),
    )
    assert content_of(other) == content_of(FILL)


def test_content_is_what_the_columns_hold() -> None:
    assert content_of(FILL)._asdict() == {
        "ts": "2026-11-20 14:31:09.000417",
        "fill_id": "f-1",
        "exchange_order_id": "o-1",
        "market_ticker": "KXTEMP-26NOV20-B52.5",
        "side": "no",
        "action": "sell",
        "outcome_side": "no",
        "book_side": "ask",
        "price_cents": "39.0000",
        "yes_price_dollars": "0.610000",
        "no_price_dollars": "0.390000",
        "size": "4.50",
        "fee_dollars": "0.074939",
        "is_taker": "true",
        "subaccount_number": "1",
        "exchange_index": "2",
        "direction_inferred": "false",
    }


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), min_size=2, max_size=3),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), min_size=2, max_size=3),
    st.integers(0, len(CONTENT_FIELDS) - 3),
)
def test_texts_cannot_be_shifted_between_fields_unseen(
    one: list[str], other: list[str], first: int
) -> None:
    def holding(texts: list[str]) -> Content:
        return FILL.content._replace(
            **dict.fromkeys(CONTENT_FIELDS[first : first + 3], "")
            | dict(zip(CONTENT_FIELDS[first:], texts, strict=False))
        )

    found, beside = holding(one), holding(other)
    assert (digest(found) == digest(beside)) == (found == beside)


def test_an_identity_cannot_be_shifted_between_its_halves_unseen() -> None:
    assert key_hash(*FillKey("ab", "c")) != key_hash(*FillKey("a", "bc"))
    assert key_hash(*FillKey("ab", "c")) == key_hash(*FillKey("ab", "c"))


# Two reports of one fill


def test_no_difference_where_nothing_changed() -> None:
    assert differences(FILL.content, FILL.content) == []


def test_every_changed_field_is_named_with_both_sides() -> None:
    changed = FILL._replace(contracts=Decimal(5), is_taker=False)
    assert differences(FILL.content, changed.content) == [
        ("size", "4.50", "5.00"),
        ("is_taker", "true", "false"),
    ]


def test_what_the_exchange_leaves_out_is_no_difference_and_erases_nothing() -> None:
    assert differences(FILL.content, ARCHIVED.content) == []
    whole = completed(ARCHIVED.fill, FILL.content)
    assert whole.content == FILL.content
    assert (whole.source, whole.raw_json) == (ARCHIVED.source, ARCHIVED.raw_json)


def test_what_the_exchange_knows_better_is_a_difference_but_no_contradiction() -> None:
    found = {difference.field for difference in differences(ARCHIVED.content, FILL.content)}
    assert found == {
        "action",
        "fee_dollars",
        "is_taker",
        "subaccount_number",
        "exchange_index",
        "direction_inferred",
    }
    assert contradictions(ARCHIVED.content, FILL.content) == []
    assert completed(FILL.fill, ARCHIVED.content) == FILL.fill


def test_both_sides_knowing_otherwise_is_a_contradiction() -> None:
    changed = FILL._replace(fee_dollars=Decimal(0), action="")
    assert contradictions(FILL.content, changed.content) == [
        ("fee_dollars", "0.074939", "0.000000")
    ]


def test_what_is_sent_is_never_overruled_by_what_is_stored() -> None:
    sent = FILL._replace(
        action="buy",
        fee_dollars=Decimal(0),
        is_taker=False,
        subaccount_number=0,
        exchange_index=0,
    )
    assert completed(sent.fill, FILL.content) == sent.fill


def test_a_confirmed_direction_confirms_only_the_same_inferred_one() -> None:
    inferred = FILL._replace(direction_inferred=True)
    assert not values_of(completed(inferred.fill, FILL.content)).direction_inferred
    turned = inferred._replace(outcome="yes")
    assert values_of(completed(turned.fill, FILL.content)).direction_inferred
    assert values_of(completed(inferred.fill, inferred.content)).direction_inferred
    blank = FILL.content._replace(book_side="")  # another writer's row, which confirms nothing
    assert values_of(completed(inferred.fill, blank)).direction_inferred


reports = st.builds(
    lambda **changes: FILL._replace(**changes).fill,
    action=st.sampled_from(["", "buy", "sell"]),
    outcome=st.sampled_from(["yes", "no"]),
    contracts=st.sampled_from([Decimal("4.50"), Decimal("5.00")]),
    fee_dollars=st.sampled_from([None, Decimal(0), Decimal("0.074939")]),
    is_taker=st.sampled_from([None, True, False]),
    subaccount_number=st.sampled_from([None, 0, 1]),
    exchange_index=st.sampled_from([None, 0, 2]),
    direction_inferred=st.booleans(),
    source=st.sampled_from(["live", "historical"]),
)


@settings(max_examples=200, deadline=None)
@given(reports, reports)
def test_of_two_reports_the_choice_does_not_depend_on_who_came_first(
    one: Fill, other: Fill
) -> None:
    chosen = max(one, other, key=rank)
    assert chosen in (one, other)
    assert chosen.content == max(other, one, key=rank).content
    known = [sum(text != "" for text in fill.content) for fill in (chosen, one, other)]
    assert known[0] == max(known)


@settings(max_examples=200, deadline=None)
@given(reports, reports)
def test_completing_a_report_erases_nothing_known_and_settles(stored: Fill, sent: Fill) -> None:
    before, now = stored.content, sent.content
    whole = completed(sent, before).content
    for index, name in enumerate(CONTENT_FIELDS):
        if name == "direction_inferred":
            continue
        assert whole[index] == (now[index] or before[index]), name
    # Written once, the same report is known the next time.
    assert differences(whole, now) == []
    assert completed(sent, whole) == completed(sent, before)


def test_a_confirmed_direction_is_preferred_to_an_inferred_one() -> None:
    fill, inferred = FILL.fill, FILL._replace(direction_inferred=True).fill
    assert max(inferred, fill, key=rank) == max(fill, inferred, key=rank) == fill


def test_a_time_with_a_fraction_is_preferred_to_a_later_one_of_whole_seconds() -> None:
    fill = FILL.fill
    later = FILL._replace(executed_at=FILL.executed_at.replace(second=10, microsecond=0)).fill
    assert max(fill, later, key=rank) == max(later, fill, key=rank) == fill


# What the table must hold


def test_expected_digests_sum_up_hour_by_hour_modulo_two_to_the_64() -> None:
    expected = HourlyDigests()
    top = (1 << 64) - 1
    hour = datetime(2026, 11, 20, 14, tzinfo=UTC)
    expected.add_all(["2026-11-20 14:00:00.000000"], [top])
    expected.add_all(["2026-11-20 14:59:59.999999", "2026-11-20 15:00:00.000000"], [5, 7])
    assert expected.hours == {
        hour: HourDigest(2, 4),
        hour + timedelta(hours=1): HourDigest(1, 7),
    }
    expected.remove("2026-11-20 14:03:00.000000", top)
    assert expected.hours[hour] == HourDigest(1, 5)
    expected.add_all(["2026-11-20 14:00:00.000000"], [1])
    assert expected.hours[hour] == HourDigest(2, 6)
    expected.remove("2026-11-20 14:00:00.000000", 7)
    assert expected.hours[hour] == HourDigest(1, top)
    expected.remove("2026-11-20 15:59:00.000000", 7)
    assert expected.hours[hour + timedelta(hours=1)] == HourDigest()
    expected.remove("2026-11-20 16:00:00.000000", 1)
    assert expected.hours[hour + timedelta(hours=2)] == HourDigest(-1, top)


# Seen


few_keys = st.integers(0, 40).map(lambda number: number << 8) | st.integers(0, (1 << 64) - 1)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(few_keys, st.integers(0, (1 << 64) - 1)), max_size=300),
    st.sampled_from([0, 1, 20, 1000]),
)
def test_seen_is_a_dict_of_what_came_first(puts: list[tuple[int, int]], most_latest: int) -> None:
    seen, model = SeenFills(most_latest), dict[int, int]()
    for key, mark in puts:
        assert (key in seen) == (key in model)
        assert seen.add(key, mark) == model.get(key)
        model.setdefault(key, mark & 0xFFFFFFFF)
    assert len(seen) == len(model)
    for key, mark in model.items():
        assert key in seen
        assert seen.add(key, mark + 1) == mark


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.tuples(few_keys, st.integers(0, (1 << 64) - 1)), max_size=60)))
def test_fills_seen_together_are_as_each_of_them_by_itself(
    pages: list[list[tuple[int, int]]],
) -> None:
    together, alone = SeenFills(most_latest=40), SeenFills(most_latest=0)
    for page in pages:
        firsts = [alone.add(key, mark) for key, mark in page]
        there = together.add_all([key for key, _ in page], [mark for _, mark in page])
        assert there == {place: first for place, first in enumerate(firsts) if first is not None}
    assert len(together) == len(alone)


def test_seen_holds_100_000_fills_in_less_than_25_bytes_each() -> None:
    rng = random.Random(11)
    model = {rng.getrandbits(64): rng.getrandbits(64) for _ in range(100_000)}
    seen = SeenFills(most_latest=1000)
    for key, mark in model.items():
        assert seen.add(key, mark) is None
    assert len(seen) == len(model)
    for key, mark in model.items():
        assert seen.add(key, 0) == mark & 0xFFFFFFFF
    assert not any(rng.getrandbits(64) in seen for _ in range(10_000))
    arrays = [*seen._keys, *seen._marks]
    assert sum(map(sys.getsizeof, arrays)) < 25 * len(model)
    assert len(seen._latest) <= 1000


def test_seen_keeps_fills_whose_hashes_crowd_in_one_place() -> None:
    seen = SeenFills(most_latest=500)
    keys = [number << 40 for number in range(1, 2000)]
    for number, key in enumerate(keys):
        assert seen.add(key, number) is None
    assert [seen.add(key, 0) for key in keys] == list(range(len(keys)))
    assert len(seen) == len(keys)
