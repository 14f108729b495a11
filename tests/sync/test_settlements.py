"""Settlements are stored in the same pass, exactly and once, and never at the fills' cost."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import pytest
from support.settling import PLAIN, SETTLED_COLUMNS, settled_account, settled_truth
from support.syncing import DAY, HOUR, NOW, NOW_FLOORED, SECOND, Bench, truth

from kalshi_fills.errors import Interrupted, WarehouseError
from kalshi_fills.practice.faults import Faults
from kalshi_fills.sync import settlements as module
from kalshi_fills.sync.report import SyncReport
from kalshi_fills.sync.settlements import next_mark
from kalshi_fills.truncate.place import place_of
from kalshi_fills.truncate.plan import TruncateRequest
from kalshi_fills.truncate.run import truncate

PATH = "/portfolio/settlements"


def stored(bench: Bench) -> list[tuple[Any, ...]]:
    return bench.rows(SETTLED_COLUMNS, "_settlements")


def physical(bench: Bench) -> int:
    count: int = bench.warehouse.rows(f"SELECT count() FROM {bench.tables.name('_settlements')}")[
        0
    ][0]
    return count


def counts(report: SyncReport) -> tuple[int, ...]:
    """Return n_api, n_new, n_corrected, n_known and n_rejected; they add up."""
    found = tuple(asdict(report.settlements).values())
    assert found[0] == sum(found[1:])
    return found


def marks(bench: Bench) -> list[tuple[Any, ...]]:
    """Return what the ledger keeps of settlements, of the latest entry that is done."""
    return bench.warehouse.rows(
        "SELECT settlements_watermark, settlements_subaccounts, settlements_held "
        f"FROM {bench.tables.name('_runs')} FINAL WHERE status = 'done' AND key_digest != '' "
        "ORDER BY recorded_at DESC LIMIT 1"
    )


def asked(bench: Bench) -> int:
    return bench.exchange.requests[PATH]


def test_every_value_is_that_of_the_exchange_and_a_second_run_stores_nothing(bench: Bench) -> None:
    account = settled_account()
    exchange = bench.serve(account, largest_page=9)
    expected = settled_truth(exchange)
    assert {row[3] for row in expected} == {0, 1, 7}
    assert {row[4] for row in expected} == {"yes", "no", "scalar"}
    assert any(row[5] and row[6] for row in expected)

    dry = bench.run(dry_run=True)
    assert stored(bench) == []
    done = bench.run()

    total = len(expected)
    assert counts(dry) == counts(done) == (total, total, 0, 0, 0)
    assert (done.notes, done.has_findings) == ([], False)
    assert stored(bench) == expected
    assert bench.fills() == truth(account)
    assert marks(bench) == [(NOW_FLOORED, [0, 1, 7], total)]
    kept = bench.rows("raw_json", "_settlements")
    payloads = [
        json.dumps(row.payload(), separators=(",", ":")) for row in exchange.portfolio.rows()
    ]
    assert sorted(text for (text,) in kept) == sorted(payloads)

    before = asked(bench)
    again = bench.run()
    assert counts(again)[1:3] == (0, 0)
    assert counts(again)[0] < total
    assert asked(bench) - before == 3 + counts(again)[0] // 9
    whole = bench.run(full=True)
    assert counts(whole) == (total, 0, 0, total, 0)
    assert physical(bench) == total
    assert marks(bench) == [(NOW_FLOORED, [0, 1, 7], total)]


def test_what_settles_or_changes_later_is_stored_by_the_next_run(bench: Bench) -> None:
    account = settled_account()
    exchange = bench.serve(account)
    open_ticker = next(
        fill.ticker for fill in account.fills if fill.ticker not in account.settlements
    )
    bench.run()
    recent = max(exchange.portfolio.rows(), key=lambda row: row.place)
    old = min(exchange.portfolio.rows(), key=lambda row: row.place)

    exchange.portfolio.settle(open_ticker, "scalar", 37, NOW + HOUR)
    exchange.portfolio.correct(recent.ticker, recent.subaccount, revenue=12_345, fee_cost="0.5")
    exchange.portfolio.correct(old.ticker, old.subaccount, market_result="void")
    bench.clock.now = NOW + 2 * HOUR
    done = bench.run()

    late = {row.ticker for row in exchange.portfolio.rows()} & {open_ticker}
    assert late
    new = sum(row.ticker == open_ticker for row in exchange.portfolio.rows())
    assert counts(done)[1] >= new
    assert counts(done)[2] == 1
    assert not done.has_findings
    assert stored(bench) != settled_truth(exchange)  # the old one is read by a longer run only
    assert counts(bench.run(since=NOW - 30 * DAY))[2] == 1
    assert stored(bench) == settled_truth(exchange)


def test_a_row_that_cannot_be_read_is_kept_and_told_and_held_until_it_is_accepted(
    bench: Bench,
) -> None:
    exchange = bench.serve(settled_account())
    at = NOW - 3 * DAY
    broken = PLAIN | {"settled_time": at.isoformat().replace("+00:00", "Z"), "fee_cost": "free"}
    exchange.portfolio.insert_item(broken, at)
    exchange.portfolio.insert_item(None, NOW - HOUR)
    exchange.portfolio.insert_item({"order_id": "o"}, NOW - HOUR)

    done = bench.run()

    assert counts(done)[4] == 9  # in each of three lists
    assert not done.has_findings
    assert done.counts.n_rejected == 0
    (note,) = done.notes
    assert "settlement_fee_unreadable 3" in note
    assert "settlement_not_an_object 3" in note
    assert bench.rows("stage, reason, times_seen, claims_fill, accepted", "_rejected") == [
        ("settlement", "settlement_fee_unreadable", 3, False, False),
        ("settlement", "settlement_not_an_object", 3, False, False),
        ("settlement", "settlement_time_unreadable", 3, False, False),
    ]
    assert (json.dumps(broken, separators=(",", ":")),) in bench.rows("raw_json", "_rejected")
    assert stored(bench) == settled_truth(exchange)
    assert done.watermark == NOW_FLOORED
    assert marks(bench)[0][0] == at.replace(microsecond=0)
    assert "settlement_fee_unreadable" in bench.run().notes[0]

    taken = bench.run(accept_rejected=True)

    assert taken.notes == []
    assert marks(bench)[0][0] == NOW_FLOORED
    assert bench.run(full=True).notes == []
    assert bench.rows("accepted", "_rejected") == [(True,)] * 3


def test_a_settlement_without_a_time_is_waited_for(bench: Bench) -> None:
    exchange = bench.serve(settled_account())
    exchange.portfolio.insert_item(PLAIN | {"settled_time": None}, NOW - 5 * DAY)

    bench.run()
    assert marks(bench)[0][:2] == (None, [])
    again = bench.run()
    assert counts(again)[3] == len(settled_truth(exchange))
    bench.run(accept_rejected=True)
    assert marks(bench)[0][:2] == (NOW_FLOORED, [0, 1, 7])


@pytest.mark.sampled(2)
@pytest.mark.parametrize("status", [403, 404])
def test_a_listing_that_is_not_to_be_had_is_one_note(bench: Bench, status: int) -> None:
    account = settled_account()
    exchange = bench.serve(account)
    exchange.portfolio.refuse_with = status

    for _ in range(2):
        before = asked(bench)
        done = bench.run()
        (note,) = done.notes
        assert note.startswith("Settlements were not read: ")
        assert asked(bench) - before == 3  # of each subaccount, side by side, and not again
        assert not done.has_findings
        assert done.watermark == NOW_FLOORED
        assert marks(bench) == [(None, [], 0)]
    assert bench.fills() == truth(account)
    exchange.portfolio.refuse_with = None
    assert bench.run().notes == []
    assert stored(bench) == settled_truth(exchange)


def test_a_key_of_one_subaccount_stores_its_settlements(bench: Bench) -> None:
    exchange = bench.serve(settled_account(), restricted_subaccount=7)
    assert bench.run().notes[0].startswith("Settlements were not read: ")
    exchange.portfolio.open_to_restricted = True

    done = bench.run()

    (note,) = done.notes
    assert note.startswith("Settlements of subaccount 0 were not read: ")
    assert stored(bench) == [row for row in settled_truth(exchange) if row[3] == 7]
    assert marks(bench)[0][1] == [7]
    assert counts(bench.run())[1:3] == (0, 0)


def test_a_failure_half_way_costs_no_fill_and_is_made_up_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 5)
    account = settled_account()
    exchange = bench.serve(account, largest_page=5)
    answer = exchange._private[PATH]
    given = 0

    def fails_after_three(request: Any) -> Any:
        nonlocal given
        given += 1
        if given > 3:
            bench.faults.server_error = 1.0
        return answer(request)

    exchange._private[PATH] = fails_after_three
    done = bench.run()

    (note,) = done.notes
    assert note.startswith("Not all settlements were stored: ")
    assert "The fills are not affected" in note
    assert (done.watermark, done.has_findings) == (NOW_FLOORED, False)
    assert bench.fills() == truth(account)
    assert 0 < len(stored(bench)) < len(settled_truth(exchange))
    assert marks(bench)[0][:2] == (None, [])

    bench.faults.server_error = 0.0
    exchange._private[PATH] = answer
    done = bench.run()
    assert done.notes == []
    assert stored(bench) == settled_truth(exchange)
    assert physical(bench) == len(stored(bench))


def test_a_table_that_refuses_settlements_costs_no_fill(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = settled_account()
    exchange = bench.serve(account)

    def refuse(*_: object) -> None:
        raise WarehouseError("no room for settlements", hint="make room")

    with monkeypatch.context() as patched:
        patched.setattr("kalshi_fills.warehouse.settlements.SettlementTable.write", refuse)
        done = bench.run()

    assert "no room for settlements" in done.notes[0]
    assert done.watermark == NOW_FLOORED
    assert bench.fills() == truth(account)
    bench.run()
    assert stored(bench) == settled_truth(exchange)


def test_an_interruption_among_settlements_is_repaired_by_the_next_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each block that was written, as if the process ended there."""
    monkeypatch.setattr(module, "_AT_ONCE", 8)
    account = settled_account()
    exchange = bench.serve(account, largest_page=8)
    table = "kalshi_fills.warehouse.settlements.SettlementTable"
    from kalshi_fills.warehouse.settlements import SettlementTable

    write = SettlementTable.write
    for blocks in range(3):
        left = blocks

        def ends(self: SettlementTable, settlements: Any) -> Any:
            nonlocal left
            if not left:
                raise Interrupted("ended", hint="run it again")
            left -= 1
            return write(self, settlements)

        with monkeypatch.context() as patched:
            patched.setattr(f"{table}.write", ends)
            with pytest.raises(Interrupted):
                bench.run()
        assert marks(bench) == []

    done = bench.run()
    assert (counts(done)[1], counts(done)[3]) == (len(settled_truth(exchange)) - 16, 16)
    assert stored(bench) == settled_truth(exchange)
    assert physical(bench) == len(stored(bench))
    assert bench.fills() == truth(account)


@pytest.mark.parametrize(
    "faults",
    [
        {"reset": 0.1, "truncate": 0.1, "server_error": 0.1, "throttle": 0.1},
        {"empty_body": 0.1, "html_instead_of_json": 0.1, "empty_page": 0.2, "overlap_page": 0.3},
        {"repeat_page": 0.2, "repeat_cursor": 0.2, "overlap_page": 0.2},
    ],
    ids=["wire", "answers", "pages"],
)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.sampled(3)
def test_faults_change_nothing(bench: Bench, faults: dict[str, float], seed: int) -> None:
    bench.faults = Faults(seed=seed, **faults)
    exchange = bench.serve(settled_account(), largest_page=7)

    for _ in range(4):
        try:
            done = bench.run()
        except Exception:  # a pass may fail; the next one must repair it
            continue
        if not done.notes:
            break

    bench.faults.__init__()  # type: ignore[misc]  # all is well again
    bench.run()
    assert stored(bench) == settled_truth(exchange)
    assert physical(bench) == len(stored(bench))


def test_a_subaccount_that_was_not_read_before_is_read_from_its_first_settlement(
    bench: Bench,
) -> None:
    account = settled_account()
    exchange = bench.serve(account)
    # The table knows one subaccount's fills only, as after a run of a short range.
    few = bench.run(since=NOW - HOUR - timedelta(seconds=1))
    assert few.counts.n_api < len(account.fills)
    known = marks(bench)[0][1]
    assert known != [0, 1, 7]
    assert stored(bench) == [row for row in settled_truth(exchange) if row[3] in known]

    bench.clock.now = NOW + 3 * DAY
    bench.run()

    assert marks(bench)[0][1] == [0, 1, 7]
    assert stored(bench) == settled_truth(exchange)


def test_another_key_another_table_and_a_table_that_lost_rows_are_read_anew(
    bench: Bench,
) -> None:
    exchange = bench.serve(settled_account())
    bench.run()
    total = len(settled_truth(exchange))
    own, name = bench.account, bench.tables.name("_settlements")

    bench.account = own._replace(key_digest="another")
    assert counts(bench.run()) == (total, 0, 0, total, 0)
    bench.account = own
    assert counts(bench.run())[0] < total

    bench.warehouse.command(f"TRUNCATE TABLE {name}")
    done = bench.run()
    assert counts(done) == (total, total, 0, 0, 0)
    assert "fewer rows than it held" in done.notes[0]
    assert bench.run().notes == []

    bench.warehouse.command(f"TRUNCATE TABLE {bench.tables.name()}")
    assert counts(bench.run()) == (total, 0, 0, total, 0)


def test_truncate_leaves_settlements_and_their_watermark(bench: Bench) -> None:
    exchange = bench.serve(settled_account())
    bench.run()
    before = stored(bench)
    exchange.portfolio.hide(exchange.portfolio.rows()[0].ticker)  # they are listed for a while only

    place = place_of(bench.warehouse, bench.tables, uuid.uuid4(), NOW + SECOND)
    truncate(place, TruncateRequest())
    assert bench.fills() == []
    done = bench.run()

    assert counts(done)[0] < len(before)
    assert stored(bench) == before
    assert bench.rows("count()") == [(len(exchange._account.fills),)]


def test_two_rows_of_one_market_are_one_settlement(bench: Bench) -> None:
    """Whatever the exchange may list twice, the later one counts, and no second run changes it."""
    exchange = bench.serve(settled_account())
    later = PLAIN | {"settled_time": "2026-11-17T09:00:00Z", "revenue": 1}
    exchange.portfolio.insert_item(PLAIN, datetime.fromisoformat(str(PLAIN["settled_time"])))
    exchange.portfolio.insert_item(later, datetime.fromisoformat(str(later["settled_time"])))
    exchange.portfolio.insert_item(later, datetime.fromisoformat(str(later["settled_time"])))

    done = bench.run()
    assert counts(done)[1] == len(settled_truth(exchange)) + 3
    assert counts(done)[3] == 6
    again = bench.run(full=True)
    assert counts(again)[1:3] == (0, 0)
    mine = bench.rows("DISTINCT revenue_dollars", "_settlements", "WHERE revenue_dollars = 0.01")
    assert len(mine) == 1


def test_settlements_are_read_up_to_now_whatever_until_says(bench: Bench) -> None:
    exchange = bench.serve(settled_account())

    bench.run(until=NOW - 5 * DAY)

    assert stored(bench) == [row for row in settled_truth(exchange) if row[3] in marks(bench)[0][1]]
    assert marks(bench)[0][0] == NOW_FLOORED


def test_the_watermark_of_settlements() -> None:
    assert next_mark(None, NOW, []) == NOW_FLOORED
    assert next_mark(NOW + DAY, NOW, []) == NOW + DAY
    assert next_mark(NOW - DAY, NOW, []) == NOW_FLOORED
