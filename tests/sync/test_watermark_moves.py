"""How far the watermark moves, and what holds it back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from support.syncing import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    NOW_FLOORED,
    SECOND,
    Bench,
    account_of,
    claim,
    fill_at,
    one_day,
    truth,
)

from kalshi_fills.errors import SettingsError
from kalshi_fills.sync import intake

# The watermark


@pytest.mark.parametrize(
    ("lag", "until", "expected"),
    [
        (0, None, NOW_FLOORED),
        (3_600.25, None, NOW_FLOORED - HOUR),
        (0, NOW - 3 * HOUR, NOW_FLOORED - 3 * HOUR),
        (7_200, NOW - HOUR, NOW_FLOORED - 2 * HOUR),
    ],
)
def test_the_watermark_is_the_lesser_of_window_end_and_what_is_current(
    bench: Bench, lag: float, until: datetime | None, expected: datetime
) -> None:
    bench.serve(one_day(10), as_of_lag_seconds=lag)

    done = bench.run(until=until)

    assert done.watermark == expected
    assert bench.runs("watermark") == [(expected,)]


def test_the_watermark_stays_behind_where_nothing_says_what_is_current(bench: Bench) -> None:
    bench.serve(one_day(10, subaccounts=(0,)), restricted_subaccount=0)

    assert bench.run().watermark == NOW_FLOORED - 15 * MINUTE
    assert bench.run(full=True, until=NOW - HOUR).watermark == NOW_FLOORED - 15 * MINUTE


def test_a_window_that_does_not_reach_back_does_not_move_it(bench: Bench) -> None:
    bench.serve(one_day(10))

    assert bench.run(since=NOW - 2 * HOUR).watermark is None
    assert bench.runs("status, watermark") == [("done", None)]
    first = bench.run(until=NOW - 6 * HOUR).watermark
    assert first == NOW_FLOORED - 6 * HOUR
    assert bench.run(since=NOW - 5 * HOUR).watermark == first
    assert bench.run(since=first + SECOND).watermark == first
    assert bench.run(since=first).watermark == NOW_FLOORED


def test_a_run_after_one_that_did_not_reach_back_fills_the_hole(bench: Bench) -> None:
    account = one_day(200)
    bench.serve(account)
    bench.run(until=NOW - 20 * HOUR)
    bench.run(since=NOW - 3 * HOUR)

    bench.run()

    assert bench.fills() == truth(account)


def test_a_window_of_long_ago_takes_nothing_back(bench: Bench) -> None:
    bench.serve(one_day(10))
    bench.run()

    past = {"since": NOW - 20 * HOUR, "until": NOW - 10 * HOUR}
    assert bench.run(**past).watermark == NOW_FLOORED
    assert bench.run(full=True, until=NOW - 10 * HOUR).watermark == NOW_FLOORED


def test_an_end_before_the_start_of_the_window_is_refused(bench: Bench) -> None:
    bench.serve(one_day(10))
    bench.run()

    with pytest.raises(SettingsError, match="--until lies before"):
        bench.run(until=NOW - 10 * HOUR)


def test_data_less_current_than_before_take_nothing_back(bench: Bench) -> None:
    account = one_day(10)
    bench.serve(account)
    bench.run()
    bench.serve(account, as_of_lag_seconds=7_200)

    assert bench.run().watermark == NOW_FLOORED


def test_the_newest_fill_is_not_the_watermark(bench: Bench) -> None:
    bench.serve(account_of(fill_at(NOW - 5 * HOUR)), as_of_lag_seconds=60)

    assert bench.run().watermark == NOW_FLOORED - MINUTE


# Refused items that claim to be fills


def test_the_watermark_does_not_pass_a_refused_claim_until_it_is_accepted(bench: Bench) -> None:
    moment = NOW - 5 * HOUR + timedelta(microseconds=7)
    bench.serve(one_day(30))
    bench.exchange.insert_item(claim(moment), moment)

    first = bench.run()

    assert first.claims == 1
    assert first.has_findings
    assert first.watermark == moment.replace(microsecond=0)
    bench.clock.now = NOW + DAY
    second = bench.run()
    assert second.watermark == moment.replace(microsecond=0)
    assert second.has_findings

    accepting = bench.run(accept_rejected=True)

    assert not accepting.has_findings
    assert accepting.counts.n_rejected == 1
    assert accepting.watermark == (NOW + DAY).replace(microsecond=0)
    after = bench.run(full=True)
    assert (after.claims, after.counts.n_rejected) == (0, 1)
    assert not after.has_findings
    assert bench.rows("accepted, times_seen", "_rejected") == [(True, 4)]


def test_an_upgraded_tool_heals_the_hole_by_itself(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = one_day(30, eras="current")
    unreadable = account.fills[7]
    bench.serve(account)
    read = intake.read_page

    def older(items: Sequence[str], *rest: Any) -> Any:
        texts = {claim_of(text): text for text in items}
        outcome = read(list(texts), *rest)
        refused = [one._replace(raw_json=texts[one.raw_json]) for one in outcome.rejected]
        return outcome._replace(rejected=refused)

    def claim_of(text: str) -> str:
        if unreadable.fill_id not in text:
            return text
        fields = json.loads(text).items()
        return json.dumps({name: content for name, content in fields if name != "count_fp"})

    monkeypatch.setattr(intake, "read_page", older)
    assert bench.run().claims == 1
    monkeypatch.setattr(intake, "read_page", read)
    bench.clock.now = NOW + 7 * DAY

    healed = bench.run()

    assert healed.counts.n_new == 1
    assert not healed.has_findings
    assert bench.fills() == truth(account)


def test_a_later_claim_does_not_hide_an_earlier_one(bench: Bench) -> None:
    bench.serve(account_of(fill_at(NOW - HOUR)))
    for number, hours in enumerate((3, 9, 6)):
        moment = NOW - hours * HOUR
        bench.exchange.insert_item(claim(moment, fill_id=f"claim-{number}"), moment)

    done = bench.run()

    assert done.claims == 3
    assert done.watermark == (NOW - 9 * HOUR).replace(microsecond=0)


def test_a_claim_refused_after_an_acceptance_holds_the_watermark_again(bench: Bench) -> None:
    bench.serve(account_of())
    bench.exchange.insert_item(claim(NOW - 3 * HOUR), NOW - 3 * HOUR)
    bench.run(accept_rejected=True)
    bench.clock.now = NOW + HOUR
    late = NOW + 10 * MINUTE
    bench.exchange.insert_item(claim(late, fill_id="another"), late)
    bench.exchange.add([fill_at(late)])

    done = bench.run()

    assert done.has_findings
    assert done.watermark == late.replace(microsecond=0)


def test_a_claim_without_a_time_leaves_the_watermark_where_it_was(bench: Bench) -> None:
    bench.serve(account_of(fill_at(NOW - 20 * HOUR)))
    bench.run(until=NOW - 10 * HOUR)
    bench.exchange.insert_item(claim(), NOW - 5 * HOUR)

    assert bench.run().watermark == NOW_FLOORED - 10 * HOUR
    assert bench.run(accept_rejected=True).watermark == NOW_FLOORED


def test_a_claim_without_a_time_on_the_first_run_leaves_no_watermark(bench: Bench) -> None:
    bench.serve(account_of())
    bench.exchange.insert_item(claim(), NOW - 5 * HOUR)

    assert bench.run().watermark is None
    assert bench.run().has_findings


@pytest.mark.parametrize("time", ["2999-01-01T00:00:00Z", "2026-11-22T12:30:00Z"])
def test_a_claim_of_a_time_to_come_is_not_passed(bench: Bench, time: str) -> None:
    """Its place in the listing is hours ago, so that a moved watermark would lose sight of it."""
    bench.serve(account_of())
    bench.run(until=NOW - 10 * HOUR)
    bench.exchange.insert_item(claim(NOW, created_time=time), NOW - 5 * HOUR)

    assert bench.run().has_findings
    bench.clock.now = NOW + 5 * HOUR

    assert bench.run().has_findings


@pytest.mark.parametrize(
    "time",
    [
        pytest.param(
            "0001-01-01T00:00:00Z",
        ),
        "1970-01-01T00:00:00Z",
        "2020-12-31T23:59:59Z",
    ],
)
def test_a_claim_of_an_empty_time_breaks_no_later_run(bench: Bench, time: str) -> None:
    """The first instant is what a time that was never set looks like on the wire."""
    bench.serve(account_of(fill_at(NOW - HOUR)))
    bench.run(until=NOW - 10 * HOUR)
    bench.exchange.insert_item(claim(NOW, created_time=time), NOW - 5 * HOUR)

    for _ in range(2):
        assert bench.run().has_findings
        assert bench.rows("count()") == [(1,)]
    assert not bench.run(accept_rejected=True).has_findings
    assert bench.run().watermark == NOW_FLOORED
