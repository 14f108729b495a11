"""Where the watermark goes, by what a pass found: pure rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from kalshi_fills.pipeline.fills import EARLIEST_FILL
from kalshi_fills.pipeline.window import Window
from kalshi_fills.sync.watermark import (
    LAG_WITHOUT_AS_OF,
    Caps,
    cap_at_archive,
    complete_until,
    moves,
    next_watermark,
    prove_table,
)
from kalshi_fills.warehouse.standing import TableState

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)

HOUR = timedelta(hours=1)

BEFORE = NOW - 5 * HOUR

WINDOW = Window(BEFORE - HOUR, NOW)


def capped(*unproven: datetime, claim: datetime | None = None) -> Caps:
    caps = Caps()
    for moment in unproven:
        caps.cap_watermark(moment)
    if claim is not None:
        caps.cap_at_claim(claim)
    return caps


def test_a_clean_pass_moves_it_to_what_the_exchange_calls_complete() -> None:
    until = NOW - HOUR / 2 + timedelta(microseconds=7)

    assert next_watermark(WINDOW, BEFORE, until, Caps()) == NOW - HOUR / 2
    assert next_watermark(WINDOW, BEFORE, NOW + HOUR, Caps()) == NOW
    assert next_watermark(Window(None, NOW), None, NOW, Caps()) == NOW


def test_a_window_that_begins_after_the_watermark_does_not_move_it() -> None:
    assert next_watermark(Window(BEFORE + HOUR, NOW), BEFORE, NOW, Caps()) == BEFORE
    assert next_watermark(Window(BEFORE, NOW), None, NOW, Caps()) is None


def test_an_old_range_read_again_takes_nothing_back() -> None:
    old = Window(BEFORE - 9 * HOUR, BEFORE - 8 * HOUR)

    assert next_watermark(old, BEFORE, NOW, Caps()) == BEFORE


@pytest.mark.parametrize(
    ("caps", "mark"),
    [
        (capped(NOW - HOUR, NOW - 2 * HOUR, NOW), NOW - 2 * HOUR),
        (capped(NOW - HOUR, claim=NOW - 3 * HOUR), NOW - 3 * HOUR),
        (capped(BEFORE - HOUR), BEFORE - HOUR),
        (capped(EARLIEST_FILL - HOUR), EARLIEST_FILL),
        (Caps(claim_without_time=True), BEFORE),
    ],
)
def test_it_never_passes_what_is_not_proven(caps: Caps, mark: datetime) -> None:
    assert next_watermark(WINDOW, BEFORE, NOW, caps) == mark


def test_the_earliest_claim_counts_until_claims_are_accepted() -> None:
    caps = capped(claim=NOW - HOUR)
    caps.cap_at_claim(NOW - 2 * HOUR)
    caps.cap_at_claim(None)
    assert (caps.claimed_since, caps.claim_without_time) == (NOW - 2 * HOUR, True)

    caps.accept_claims()

    assert caps == Caps()


def test_without_a_listing_it_goes_no_further_than_the_archive() -> None:
    assert cap_at_archive(NOW, BEFORE, NOW - HOUR).watermark == NOW - HOUR
    for cutoff in (None, BEFORE, BEFORE - HOUR):
        stays = cap_at_archive(NOW, BEFORE, cutoff)
        assert stays.watermark == BEFORE
        assert stays.note


def test_only_a_later_watermark_moves() -> None:
    assert moves(NOW, None)
    assert moves(NOW, BEFORE)
    assert not moves(BEFORE, BEFORE)
    assert not moves(None, BEFORE)


def test_an_exchange_that_is_far_behind_gets_a_note() -> None:
    assert complete_until(None, NOW) == (NOW - LAG_WITHOUT_AS_OF, "")
    assert complete_until(NOW - HOUR, NOW) == (NOW - HOUR, "")
    late = complete_until(NOW - 3 * HOUR, NOW)
    assert late.watermark == NOW - 3 * HOUR
    assert "3.0 hours behind the clock" in late.note


def test_a_table_that_lost_rows_or_was_replaced_proves_no_watermark() -> None:
    start = TableState("a", 10)

    assert prove_table(NOW, start, TableState("a", 12), 12, 14) == (NOW, TableState("a", 12), "")
    for end in (TableState("a", 11), TableState("b", 12)):
        proof = prove_table(NOW, start, end, 12, 12)
        assert proof.watermark is None
        assert proof.table == TableState(end.identity, 0)
        assert proof.note.startswith("No watermark")
