"""One fill in several words: what is stored is the same whatever came first, and stays."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from support.syncing import HOUR, NOW, NOW_FLOORED, SECOND, Bench, account_of, fill_at

from kalshi_fills.pipeline.content import (
    completed,
    contradictions,
    differences,
    digest,
    merge,
    rank,
)
from kalshi_fills.pipeline.fills import Fill, FillKey
from kalshi_fills.practice.account import PracticeFill
from kalshi_fills.sync import comparison, intake
from kalshi_fills.sync import run as run_module
from kalshi_fills.sync.contested import join, reports

MICROS = timedelta(microseconds=700_417)
FINE = NOW_FLOORED - 10 * HOUR + MICROS
WHOLE = FINE.replace(microsecond=0)

both_block_sizes = pytest.mark.parametrize(
    "block", [20_000, 1], ids=["one block", "a block for each page"]
)


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    return lambda size: monkeypatch.setattr(intake, "BLOCK_FILLS", size)


def without_fraction(fill: PracticeFill) -> dict[str, Any]:
    """Return the payload with `ts` alone."""
    payload = fill.payload("current")
    del payload["created_time"]
    return payload


def report(**changes: Any) -> Fill:
    payload = fill_at(FINE).payload("current") | changes
    (fill,) = reports([json.dumps(payload)], NOW).values()
    return fill


# Times of whole seconds


def test_a_time_of_whole_seconds_agrees_with_a_finer_one_of_that_second() -> None:
    fine, whole = report(), report(created_time=None)
    assert (fine.content.moment, whole.content.moment) == (FINE, WHOLE)
    assert differences(fine.content, whole.content) == []
    assert contradictions(fine.content, whole.content) == []
    assert contradictions(whole.content, fine.content) == []
    assert [one.field for one in differences(whole.content, fine.content)] == ["ts"]
    assert completed(whole, fine.content).content == fine.content
    assert completed(fine, whole.content) == fine
    assert max(fine, whole, key=rank) == max(whole, fine, key=rank) == fine
    assert merge(fine, whole).content == merge(whole, fine).content == fine.content
    assert fine.content.moment == FINE


@pytest.mark.parametrize("seconds", [-1, 1, 3_600])
def test_another_second_is_another_time(seconds: int) -> None:
    fine = report()
    other = report(created_time=None, ts=int(WHOLE.timestamp()) + seconds)
    assert [one.field for one in contradictions(fine.content, other.content)] == ["ts"]
    assert [one.field for one in contradictions(other.content, fine.content)] == ["ts"]
    assert completed(other, fine.content).content.ts == other.content.ts


def test_two_fractions_of_one_second_contradict_each_other() -> None:
    one, other = report(), report(created_time=(FINE + timedelta(microseconds=1)).isoformat())
    assert [found.field for found in contradictions(one.content, other.content)] == ["ts"]


def test_what_a_finer_time_lacks_comes_from_the_report_of_whole_seconds() -> None:
    fine, whole = report(fee_cost=None), report(created_time=None, action=None)
    for merged in (merge(fine, whole), merge(whole, fine)):
        assert merged.content.moment == FINE
        assert merged.content.fee_dollars == whole.content.fee_dollars
        assert merged.content.action == fine.content.action


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_of_three_reports_that_contradict_each_other_the_same_is_stored_in_any_order(
    bench: Bench, order: tuple[int, ...]
) -> None:
    whole = fill_at(FINE).payload("current")
    sent = [
        # Completed from each other, these two would know as much as the third, and be later.
        whole | {"created_time": (FINE + HOUR).isoformat(), "fee_cost": None},
        whole | {"created_time": (FINE + HOUR + SECOND).isoformat(), "is_taker": None},
        whole,
    ]
    sent[0].pop("ts")
    sent[1].pop("ts")
    bench.serve(account_of())
    for place, which in enumerate(order):
        bench.exchange.insert_item(sent[which], NOW - HOUR - place * SECOND)

    first = bench.run()
    assert (first.counts.n_new, first.counts.n_duplicate) == (1, 2)
    assert bench.rows("ts") == [(FINE,)]
    for _ in range(2):
        again = bench.run(full=True)
        assert (again.counts.n_known, again.counts.n_inserted) == (1, 0)
    assert bench.rows("ts") == [(FINE,)]


def test_an_archive_of_whole_seconds_replaces_no_finer_time(bench: Bench) -> None:
    fill = fill_at(FINE)
    bench.serve(account_of(fill))
    bench.run()
    before = bench.rows("ts, version, raw_json")
    bench.serve(account_of(), cutoff=NOW - HOUR)
    bench.exchange.insert_item(without_fraction(fill), WHOLE)

    for _ in range(2):
        done = bench.run(full=True)
        assert (done.counts.n_known, done.counts.n_inserted, done.breaks) == (1, 0, [])
        assert not done.has_findings
    assert bench.rows("ts, version, raw_json") == before
    assert before[0][0] == FINE


@pytest.mark.sampled(5)
@pytest.mark.parametrize("spelled", ["ts alone", "created_time without a fraction"])
@both_block_sizes
def test_both_tiers_agree_where_one_sends_whole_seconds(
    bench: Bench, blocks: Callable[[int], None], block: int, spelled: str
) -> None:
    blocks(block)
    fill = fill_at(FINE)
    whole = without_fraction(fill)
    if spelled != "ts alone":
        whole["created_time"] = WHOLE.isoformat().replace("+00:00", "Z")
    for live, archived in ((fill.payload("current"), whole), (whole, fill.payload("current"))):
        bench.warehouse.command(f"TRUNCATE TABLE {bench.tables.name()}")
        bench.serve(account_of(), cutoff=NOW - 11 * HOUR)
        bench.exchange.insert_item(live, FINE)
        bench.exchange.insert_item(archived, NOW - 12 * HOUR)

        first = bench.run(full=True)

        assert (first.counts.n_new, first.counts.n_duplicate) == (1, 1)
        assert not first.has_findings
        assert bench.rows("ts") == [(FINE,)]
        again = bench.run(full=True)
        assert (again.counts.n_known, again.counts.n_inserted) == (1, 0)
        assert not again.has_findings


def test_a_stored_time_of_whole_seconds_is_corrected_once(bench: Bench) -> None:
    fill = fill_at(FINE)
    bench.serve(account_of())
    bench.exchange.insert_item(without_fraction(fill), WHOLE)
    assert bench.run().counts.n_new == 1
    assert bench.rows("ts") == [(WHOLE,)]
    bench.serve(account_of(fill))

    done = bench.run(full=True)

    assert (done.counts.n_corrected, done.corrections.by_field) == (1, {"ts": 1})
    assert not done.has_findings
    assert bench.rows("ts") == [(FINE,)]
    assert bench.run(full=True).counts.n_inserted == 0


@pytest.mark.sampled(5)
@pytest.mark.parametrize("edge", ["until", "since"])
@both_block_sizes
def test_a_window_that_ends_within_the_second_finds_no_break(
    bench: Bench, blocks: Callable[[int], None], block: int, edge: str
) -> None:
    """One time of the fill lies in the window, and the other one does not."""
    blocks(block)
    fill, neighbours = fill_at(FINE), [fill_at(FINE - HOUR / 2, 2), fill_at(FINE + HOUR / 2, 3)]
    middle = WHOLE + SECOND / 2
    window = {"since": WHOLE - HOUR, "until": WHOLE + HOUR} | {edge: middle}
    bench.serve(account_of(fill, *neighbours), cutoff=NOW - 11 * HOUR)
    bench.exchange.insert_item(without_fraction(fill), WHOLE)
    for _ in range(2):
        done = bench.run(**window)
        assert not done.has_findings, done.breaks
        # Somebody changes a neighbour meanwhile, so that the hour is compared fill by fill.
        bench.warehouse.command(
            f"ALTER TABLE {bench.tables.name()} DELETE WHERE fill_id = "
            f"'{neighbours[0].fill_id}' SETTINGS mutations_sync = 2"
        )
    bench.serve(account_of(*neighbours))
    bench.exchange.insert_item(without_fraction(fill), WHOLE)
    assert not bench.run(**window).has_findings


# A fill that comes again in a later block, and richer


class AskedTwice(Exception):
    """The pass compared rows that it should have known to be right."""


@pytest.fixture
def rows_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where an hour is compared fill by fill: its digests should have agreed."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AskedTwice

    monkeypatch.setattr(comparison, "compare_fills", refuse)


@pytest.mark.sampled(7)
@pytest.mark.usefixtures("rows_unread")
@pytest.mark.parametrize("stored_before", [False, True])
@pytest.mark.parametrize(
    ("poor", "field"),
    [
        ({"fee_cost": None}, "fee_dollars"),
        ({"created_time": None}, "ts"),
        ({"outcome_side": None, "book_side": None, "exchange_index": None}, "direction_inferred"),
    ],
)
def test_a_fill_that_comes_again_richer_is_what_the_table_must_hold(
    bench: Bench,
    blocks: Callable[[int], None],
    poor: dict[str, Any],
    field: str,
    stored_before: bool,
) -> None:
    blocks(1)
    fill, others = fill_at(FINE), [fill_at(FINE + hours * HOUR, 2 + hours) for hours in range(3)]
    bench.serve(account_of(*others), cutoff=NOW - 11 * HOUR)
    bench.exchange.insert_item(fill.payload("current") | poor, FINE)
    if stored_before:
        bench.run()
    bench.exchange.insert_item(fill.payload("current"), NOW - 12 * HOUR)

    done = bench.run(full=True)

    assert done.counts.n_duplicate == 1
    assert not done.has_findings
    assert field in done.corrections.by_field
    assert (FINE, fill.fee, False, 0) in bench.rows(
        "ts, fee_dollars, direction_inferred, exchange_index"
    )
    # Each version of a row is one of its own: of equal ones nothing says which counts.
    assert bench.warehouse.rows(
        f"SELECT count(), uniqExact(version) FROM {bench.tables.name()} "
        f"WHERE fill_id = '{fill.fill_id}'"
    ) in ([(2, 2)], [(1, 1)])
    again = bench.run(full=True)
    assert (again.counts.n_inserted, again.has_findings) == (0, False)


@pytest.mark.usefixtures("rows_unread")
@pytest.mark.parametrize("edge", ["since", "until"])
def test_a_finer_time_beyond_the_edge_of_the_window_is_expected_no_longer(
    bench: Bench, blocks: Callable[[int], None], edge: str
) -> None:
    blocks(1)
    fill = fill_at(FINE)
    bench.serve(account_of(), cutoff=WHOLE + 3 * SECOND / 4)  # within reach of either window
    bench.exchange.insert_item(without_fraction(fill), WHOLE + 7 * SECOND / 8)
    bench.exchange.insert_item(fill.payload("current"), WHOLE)

    window = {"since": WHOLE - HOUR, "until": WHOLE + HOUR} | {edge: WHOLE + SECOND / 2}
    done = bench.run(**window)

    assert done.corrections.by_field == {"ts": 1}
    assert not done.has_findings
    assert bench.rows("ts") == [(FINE,)]


@pytest.mark.usefixtures("rows_unread")
def test_a_richer_fill_of_another_hour_is_expected_there(
    bench: Bench, blocks: Callable[[int], None]
) -> None:
    blocks(1)
    fill = fill_at(FINE)
    bench.serve(account_of(fill_at(FINE, 2)), cutoff=NOW - 11 * HOUR)
    moved = fill.payload("current") | {"created_time": None, "ts": int(WHOLE.timestamp()) - 7_200}
    bench.exchange.insert_item(moved | {"is_taker": None}, FINE)
    bench.exchange.insert_item(fill.payload("current"), NOW - 12 * HOUR)

    done = bench.run(full=True)

    assert {one.field for one in done.breaks} == {"ts"}
    assert bench.rows("ts, is_taker", more=f"WHERE fill_id = '{fill.fill_id}'") == [(FINE, True)]


@pytest.mark.sampled(4)
@both_block_sizes
def test_three_reports_that_each_know_something_come_to_one(
    bench: Bench, blocks: Callable[[int], None], block: int
) -> None:
    fill = fill_at(FINE, subaccount=3, exchange_index=2)
    parts = [{"fee_cost": None}, {"subaccount_number": None}, {"exchange_index": None}]
    blocks(block)
    for number, order in enumerate(itertools.permutations(parts)):
        bench.warehouse.command(f"TRUNCATE TABLE {bench.tables.name()}")
        bench.serve(account_of(), cutoff=NOW - 11 * HOUR)
        for hours, left_out in zip((10, 12, 13), order, strict=True):
            bench.exchange.insert_item(fill.payload("current") | left_out, NOW - hours * HOUR)

        done = bench.run(full=True)

        assert not done.has_findings, number
        assert done.counts.n_duplicate == 2
        assert bench.rows("fee_dollars, subaccount_number, exchange_index") == [(fill.fee, 3, 2)]
        assert bench.run(full=True).counts.n_inserted == 0


# One fill with two contents


def contested(bench: Bench, *payloads: dict[str, Any]) -> None:
    """Serve reports of one fill: the first by the live tier, the others by the archive."""
    bench.serve(account_of(fill_at(NOW - HOUR, 7)), cutoff=WHOLE + SECOND / 2)
    for number, payload in enumerate(payloads):
        bench.exchange.insert_item(
            payload, WHOLE + (7 - number) * SECOND / 8 - bool(number) * SECOND / 2
        )


@pytest.mark.sampled(5)
@both_block_sizes
@pytest.mark.parametrize("rich_first", [True, False])
def test_the_one_that_knows_more_is_stored_and_the_other_can_be_accepted(
    bench: Bench, blocks: Callable[[int], None], block: int, rich_first: bool
) -> None:
    blocks(block)
    fill = fill_at(FINE)
    rich = fill.payload("current")
    poor = rich | {"count_fp": "77.00", "fee_cost": None, "is_taker": None}
    contested(bench, *((rich, poor) if rich_first else (poor, rich)))

    for number in range(3):
        done = bench.run(full=True)

        assert [(one.kind, one.field, one.exchange, one.table) for one in done.breaks] == [
            ("mismatch", "size", Decimal(77), Decimal(10))
        ]
        assert done.conflicts == 1
        assert done.has_findings
        assert done.watermark == WHOLE
        assert done.counts.n_duplicate == 1
        assert done.counts.n_new == (2 if number == 0 else 0)
        assert done.counts.n_corrected == 0
        assert bench.rows("size, fee_dollars", more=f"WHERE fill_id = '{fill.fill_id}'") == [
            (Decimal(10), fill.fee)
        ]
    assert bench.rows("reason, claims_fill, accepted, times_seen", "_rejected") == [
        ("contradicts_another_report", False, False, 3)
    ]

    accepting = bench.run(accept_rejected=True)

    assert not accepting.has_findings
    assert accepting.watermark == NOW_FLOORED
    after = bench.run(full=True)
    assert (after.breaks, after.conflicts, after.counts.n_inserted) == ([], 0, 0)
    assert not after.has_findings
    assert after.watermark == NOW_FLOORED
    third = rich | {"count_fp": "78.00", "fee_cost": None}
    bench.exchange.insert_item(third, WHOLE)
    assert [one.exchange for one in bench.run(full=True).breaks] == [Decimal(78)]


@both_block_sizes
def test_a_content_that_lost_is_stored_where_it_is_the_only_one_left(
    bench: Bench, blocks: Callable[[int], None], block: int
) -> None:
    blocks(block)
    rich = fill_at(FINE).payload("current")
    poor = rich | {"count_fp": "77.00", "fee_cost": None}
    contested(bench, rich, poor)
    bench.run()
    contested(bench, poor)

    done = bench.run(full=True)

    assert (done.counts.n_corrected, done.corrections.by_field) == (1, {"size": 1})
    assert not done.has_findings
    assert (Decimal(77),) in bench.rows("size")


@both_block_sizes
def test_two_event_times_do_not_take_turns_as_windows_see_one_of_them(
    bench: Bench, blocks: Callable[[int], None], block: int
) -> None:
    blocks(block)
    rich = fill_at(FINE).payload("current")
    earlier = FINE - 5 * HOUR
    poor = rich | {"created_time": earlier.isoformat(), "ts": None, "fee_cost": None}
    bench.serve(account_of(), cutoff=NOW - 12 * HOUR)
    bench.exchange.insert_item(rich, FINE)
    bench.exchange.insert_item(poor, earlier)
    assert [one.field for one in bench.run().breaks] == ["ts"]
    bench.run(accept_rejected=True)

    for middle in (earlier, FINE, earlier):
        done = bench.run(since=middle - HOUR, until=middle + HOUR)
        assert (done.counts.n_known, done.counts.n_inserted) == (1, 0)
        assert not done.has_findings
        assert bench.rows("ts") == [(FINE,)]
    assert bench.run(full=True).counts.n_inserted == 0
    bench.serve(account_of(), cutoff=NOW - 12 * HOUR)
    bench.exchange.insert_item(poor, earlier)
    assert bench.run(full=True).counts.n_corrected == 1
    assert bench.rows("ts") == [(earlier,)]


@both_block_sizes
def test_the_same_two_contents_again_and_again_are_one_break(
    bench: Bench, blocks: Callable[[int], None], block: int
) -> None:
    blocks(block)
    rich = fill_at(FINE).payload("current")
    poor = rich | {"count_fp": "77.00", "fee_cost": None}
    contested(bench, rich, poor, poor, rich, poor)

    for _ in range(2):
        done = bench.run(full=True)
        assert len(done.breaks) == 1
        assert done.counts.n_duplicate == 4


@both_block_sizes
def test_reports_as_rich_as_each_other_settle_on_one_whatever_comes_first(
    bench: Bench, blocks: Callable[[int], None], block: int
) -> None:
    blocks(block)
    payload = fill_at(FINE).payload("current")
    sizes = set()
    for first, second in (("11.00", "10.00"), ("10.00", "11.00")):
        bench.warehouse.command(f"TRUNCATE TABLE {bench.tables.name()}")
        contested(bench, payload | {"count_fp": first}, payload | {"count_fp": second})
        for _ in range(2):
            assert len(bench.run(full=True).breaks) == 1
            sizes |= {row[0] for row in bench.rows("size", more=f"WHERE ts < '{WHOLE + HOUR:%F}'")}
    assert len(sizes - {Decimal(10)} | {Decimal(11)}) == 1


def test_a_pass_that_died_before_it_told_tells_again(
    bench: Bench, blocks: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks(1)
    rich = fill_at(FINE).payload("current")
    contested(bench, rich, rich | {"count_fp": "77.00", "fee_cost": None})
    with monkeypatch.context() as patched:
        patched.setattr(run_module, "compare_with_table", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            bench.run()

    assert len(bench.run().breaks) == 1


def test_a_dry_run_finds_the_two_contents_and_writes_nothing(bench: Bench) -> None:
    rich = fill_at(FINE).payload("current")
    contested(bench, rich, rich | {"count_fp": "77.00", "fee_cost": None})

    assert bench.run(dry_run=True).has_findings
    assert bench.physical() == {"": 0, "_rejected": 0, "_runs": 0}


def test_of_two_contents_the_same_one_wins_and_the_other_is_named() -> None:
    one, other = report(), report(count_fp="77.00", fee_cost=None)
    for first, second in ((one, other), (other, one)):
        joined, conflict = join(first, second)
        assert joined.content.size == "10.00"
        assert conflict is not None
        assert conflict.other.content.size == "77.00"
        assert [found.field for found in conflict.breaks()] == ["size"]
        refused = conflict.refused()
        assert (refused.raw_json, refused.claims_fill) == (other.raw_json, False)
    assert join(one, one) == (one, None)
    assert digest(join(one, report(fee_cost=None))[0].content) == digest(one.content)


def test_payloads_that_are_no_fills_are_no_reports() -> None:
    assert reports(["", "{", "null", "[]", "{}", "[" * 100_000, '{"fill_id": "f"}'], NOW) == {}
    assert list(reports([report().raw_json], NOW)) == [
        FillKey(fill_at(FINE).fill_id, fill_at(FINE).order_id)
    ]
