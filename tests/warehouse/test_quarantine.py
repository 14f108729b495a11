"""Refused items are kept, one row for each distinct one."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta

import pytest
from support.book import NOW, Book, refusal

CLAIM = {"order_id": "o", "fill_id": "f", "created_time": "2026-11-22T10:00:00Z", "novel_key": 1}


def test_a_refused_item_is_kept_whole_with_its_reason(book: Book) -> None:
    raw = '{"order_id": "it\'s",\t"fill_id": "日本", "ä b": null, "n": 1.10}'
    run_id = uuid.uuid4()

    book.store(run_id=run_id).quarantine([refusal(None, raw)], NOW)

    assert book.rows(
        "stage, reason, keys, raw_json, claims_fill, accepted, first_seen, last_seen, times_seen, "
        "run_id",
        "_rejected",
    ) == [
        (
            "real",
            "no_event_time",
            ["order_id", "fill_id", "ä b", "n"],
            raw,
            True,
            False,
            NOW,
            NOW,
            1,
            run_id,
        )
    ]


@pytest.mark.parametrize("key", ["it's", "a\\b", "tab\t, line\n", "nul\0", "`", "", "'], ['"])
def test_a_refused_item_may_have_any_keys(book: Book, key: str) -> None:
    item = CLAIM | {key: 1, "after": 2}

    book.store().quarantine([refusal(item)], NOW)

    assert book.rows("keys", "_rejected") == [(list(item),)]


@pytest.mark.parametrize("item", [None, 0, "text", [1, None], {}, True])
def test_whatever_was_refused_is_one_row(book: Book, item: object) -> None:
    book.store().quarantine([refusal(item)], NOW)

    found = book.rows("raw_json, keys, claims_fill", "_rejected")
    assert found == [(json.dumps(item), [], False)]


def test_an_item_that_comes_back_is_counted_not_repeated(book: Book) -> None:
    item = refusal(CLAIM)
    other_order = refusal(dict(reversed(CLAIM.items())))
    later, earlier = NOW + timedelta(days=1), NOW - timedelta(days=1)

    book.store().quarantine([item, refusal("junk"), item], NOW)
    book.store().quarantine([other_order], later)
    book.store().quarantine([item], earlier)

    for _ in ("before a merge", "after it"):
        assert book.rows(
            "reason, times_seen, first_seen, last_seen", "_rejected", "times_seen"
        ) == [
            ("not_an_object", 1, NOW, NOW),
            ("no_quantity", 4, earlier, later),
        ]
        book.merge("_rejected")


def test_items_that_differ_are_rows_of_their_own(book: Book) -> None:
    items = [CLAIM, CLAIM | {"order_id": "p"}, CLAIM | {"novel_key": "1"}, [CLAIM], None, "null"]

    book.store().quarantine([refusal(item) for item in items], NOW)

    assert book.rows("count(), uniqExact(fingerprint)", "_rejected") == [(6, 6)]


def test_an_accepted_item_stays_accepted_however_often_it_comes_back(book: Book) -> None:
    claim, junk = refusal(CLAIM), refusal({"status": "resting"})
    book.store().quarantine([claim, junk], NOW)
    assert book.store().accepted([claim, junk]) == set()

    book.store().accept_rejected()
    book.store().quarantine([claim, junk], NOW + timedelta(hours=1))

    for _ in ("before a merge", "after it"):
        assert book.store().accepted([claim, junk]) == {claim.fingerprint}
        assert book.rows("claims_fill, accepted, times_seen, last_seen", "_rejected") == [
            (False, False, 2, NOW + timedelta(hours=1)),
            (True, True, 2, NOW + timedelta(hours=1)),
        ]
        book.merge("_rejected")


def test_what_is_refused_after_an_acceptance_is_not_accepted(book: Book) -> None:
    book.store().accept_rejected()
    claim = refusal(CLAIM)

    book.store().quarantine([claim], NOW)

    assert book.store().accepted([claim]) == set()


def test_nothing_refused_asks_and_writes_nothing(book: Book) -> None:
    book.store().quarantine([], NOW)

    assert book.store().accepted([]) == set()
    assert book.rows("count()", "_rejected") == [(0,)]
