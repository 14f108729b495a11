"""A watermark counts for the key and the table it was recorded for, and is set by proof alone."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from support.syncing import DAY, HOUR, MINUTE, NOW, NOW_FLOORED, Bench, account_of, fill_at, truth

from kalshi_fills.migrate.run import migrate
from kalshi_fills.practice.account import PracticeAccount
from kalshi_fills.truncate.place import place_of
from kalshi_fills.truncate.plan import TruncateRequest, list_backups
from kalshi_fills.truncate.run import truncate as remove_rows
from kalshi_fills.warehouse.schema import require_today
from kalshi_fills.warehouse.standing import account_of as account_of_key

OTHER_KEY = account_of_key("practice", "another-key")
UNTIL = NOW - timedelta(microseconds=500_000)


def month(fills: int = 12) -> PracticeAccount:
    """Return an account with a fill every day or so, the last one two hours ago."""
    ago = [2 * HOUR + number * 36 * HOUR for number in range(fills)]
    return account_of(*(fill_at(NOW - age, number + 1) for number, age in enumerate(ago)))


def nothing(_: object) -> Any:
    from kalshi_fills.practice.wire import json_answer

    return json_answer(200, {"fills": [], "cursor": ""})


def maintain(bench: Bench) -> Callable[[], None]:
    """Have both listings answer 200 with nothing; the result ends that."""
    listings = bench.exchange._private
    before = dict(listings)
    for path in ("/portfolio/fills", "/historical/fills"):
        listings[path] = nothing
    return lambda: listings.update(before)


def truncate(bench: Bench, **request: Any) -> None:
    bench.clock.now += MINUTE
    remove_rows(
        place_of(bench.warehouse, bench.tables, uuid.uuid4(), bench.clock.now),
        TruncateRequest(**request),
    )


def hand(bench: Bench, statement: str) -> None:
    """Run a statement as an operator does; MINE is the fills table, OLD one beside it."""
    mine, old = bench.tables.name(), bench.tables.name("_old")
    bench.warehouse.command(statement.replace("MINE", mine).replace("OLD", old))


# A pass that got nothing


def test_an_empty_answer_on_the_first_pass_sets_no_watermark(bench: Bench) -> None:
    bench.serve(month())
    end_of_maintenance = maintain(bench)

    empty = bench.run()

    assert empty.watermark is None
    assert any("listed no item at all" in note for note in empty.notes)
    end_of_maintenance()
    assert bench.run().counts.n_new == 12
    assert bench.fills() == truth(bench.exchange._account)


def test_an_empty_answer_later_leaves_the_watermark_where_it_is(bench: Bench) -> None:
    bench.serve(month())
    before = bench.run().watermark
    bench.clock.now += 5 * HOUR
    bench.exchange.add([fill_at(bench.clock.now - 3 * HOUR, 77)])
    end_of_maintenance = maintain(bench)

    assert bench.run().watermark == before

    end_of_maintenance()
    bench.clock.now += 5 * HOUR
    assert bench.run().counts.n_new == 1


def test_a_quiet_hour_moves_the_watermark(bench: Bench) -> None:
    bench.serve(month())
    bench.run()
    bench.clock.now += 5 * HOUR

    quiet = bench.run()

    assert quiet.counts.n_api == 0
    assert quiet.watermark == NOW_FLOORED + 5 * HOUR
    assert quiet.notes == []


def test_an_archive_that_answers_proves_nothing_of_a_live_listing_in_maintenance(
    bench: Bench,
) -> None:
    """The recent fills are not listed while the older ones are: they must not be passed over."""
    cutoff = NOW - 2 * DAY
    bench.serve(month(), cutoff=cutoff)
    listings = bench.exchange._private
    real = listings["/portfolio/fills"]
    listings["/portfolio/fills"] = nothing

    half = bench.run()

    assert half.counts.n_new > 0
    assert half.watermark == cutoff.replace(microsecond=0)
    assert any("no further than the archive" in note for note in half.notes)
    listings["/portfolio/fills"] = real
    bench.run()
    assert bench.fills() == truth(bench.exchange._account, cutoff)


def test_an_account_whose_fills_are_all_archived_is_read_from_the_cutoff_on(bench: Bench) -> None:
    bench.serve(month(), cutoff=NOW - HOUR)

    assert bench.run().watermark == NOW_FLOORED - HOUR
    bench.clock.now += 5 * HOUR
    assert bench.run().watermark == NOW_FLOORED - HOUR


def test_an_item_in_the_range_that_was_listed_as_empty_is_no_proof(bench: Bench) -> None:
    """The exchange comes back between the walk and the question."""
    bench.serve(month())
    bench.run()
    before = NOW_FLOORED
    bench.clock.now += 5 * HOUR
    bench.exchange.add([fill_at(bench.clock.now - 3 * HOUR, 77)])
    listings = bench.exchange._private
    real = listings["/portfolio/fills"]
    listings["/portfolio/fills"] = lambda request: (
        real(request) if "min_ts" not in request.query else nothing(request)
    )

    assert bench.run().watermark == before


# What the exchange says of itself


@pytest.mark.parametrize("zero", ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"])
def test_an_empty_as_of_time_counts_as_not_told(bench: Bench, zero: str) -> None:
    from kalshi_fills.practice.wire import json_answer

    bench.serve(month())
    answers = bench.exchange._private
    answers["/exchange/user_data_timestamp"] = lambda _: json_answer(200, {"as_of_time": zero})

    done = bench.run()

    assert done.watermark == (NOW - 15 * MINUTE).replace(microsecond=0)
    assert done.notes == []
    assert len(bench.fills()) == 12


def test_an_as_of_time_far_behind_is_told_in_every_run(bench: Bench) -> None:
    bench.serve(month(), as_of_lag_seconds=25 * 3600)
    for _ in range(2):
        done = bench.run()

        assert done.watermark == (NOW - 25 * HOUR).replace(microsecond=0)
        (note,) = done.notes
        assert "2026-11-21T11:00:00Z" in note
        assert "25.0 hours" in note
    assert bench.runs("notes") == [([note],), ([note],)]


def test_an_as_of_time_a_little_behind_is_not_told(bench: Bench) -> None:
    bench.serve(month(), as_of_lag_seconds=3500)

    assert bench.run().notes == []


def test_no_watermark_lies_before_the_exchange(bench: Bench) -> None:
    bench.serve(month())
    bench.clock.now = datetime(1970, 1, 2, tzinfo=NOW.tzinfo)

    mark = bench.run().watermark

    assert mark is None or mark.year >= 2021


# Keys


def test_a_restricted_key_first_and_the_full_key_later(bench: Bench) -> None:
    fills = [
        fill_at(NOW - (number + 2) * HOUR, number, subaccount=number % 2) for number in range(12)
    ]
    bench.serve(account_of(*fills), restricted_subaccount=1)
    assert bench.run().counts.n_new == 6

    bench.serve(account_of(*fills))
    bench.account = OTHER_KEY
    full = bench.run()

    assert full.counts.n_new == 6
    assert any("no finished run used this API key" in note for note in full.notes)
    assert len(bench.fills()) == 12
    assert bench.run().notes == []


def test_a_key_that_comes_back_reads_from_its_own_watermark(bench: Bench) -> None:
    bench.serve(month())
    first = bench.run()
    bench.clock.now += DAY
    bench.account = OTHER_KEY
    bench.run()
    bench.clock.now += DAY
    del bench.account  # the first one again

    again = bench.run()

    assert again.window is not None
    assert first.watermark is not None
    assert again.window.start == first.watermark - HOUR
    assert again.notes == []


def test_the_ledger_keeps_the_key_and_the_environment_but_not_the_id(bench: Bench) -> None:
    bench.serve(month())
    bench.run()

    ((environment, digest, held),) = bench.runs("environment, key_digest, fills_held")
    assert (environment, digest, held) == (*bench.account, 12)
    assert digest != account_of_key("prod", "practice-key-id").key_digest


# Starting over by hand

BY_HAND: dict[str, list[str]] = {
    "emptied": ["TRUNCATE TABLE MINE"],
    "dropped and made again": ["DROP TABLE MINE SYNC", "migrate"],
    "renamed away": ["RENAME TABLE MINE TO OLD", "migrate"],
    "an old copy put back": [
        "CREATE TABLE OLD AS MINE",
        "INSERT INTO OLD SELECT * FROM MINE LIMIT 3",
        "EXCHANGE TABLES MINE AND OLD",
    ],
    "an old copy with as many rows": [
        "CREATE TABLE OLD AS MINE",
        "SYSTEM STOP MERGES OLD",
        *["INSERT INTO OLD SELECT * FROM MINE LIMIT 6"] * 3,
        "EXCHANGE TABLES MINE AND OLD",
    ],
    "rows deleted": ["ALTER TABLE MINE DELETE WHERE ts < '2026-11-17' SETTINGS mutations_sync = 2"],
    "rows deleted lightly": ["DELETE FROM MINE WHERE price_cents > 0"],
}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("what", BY_HAND)
def test_starting_over_by_hand_reads_everything_again_and_says_why(bench: Bench, what: str) -> None:
    bench.serve(month())
    bench.run()
    bench.run()
    for statement in BY_HAND[what]:
        if statement == "migrate":
            migrate(bench.warehouse, bench.tables, NOW)
        else:
            hand(bench, statement)
    bench.clock.now += DAY

    done = bench.run()

    assert done.window is not None
    assert done.window.start is None
    (note,) = done.notes
    assert note.startswith("From the account's first fill on: the table")
    assert bench.fills() == truth(bench.exchange._account)
    bench.clock.now += HOUR
    settled = bench.run()
    assert settled.notes == []
    assert settled.window is not None
    assert settled.window.start is not None


def test_another_writer_that_fills_an_emptied_table_covers_nothing_up(bench: Bench) -> None:
    """The engine whose junk made the operator empty the table writes on."""
    bench.serve(month())
    bench.run()
    hand(bench, "TRUNCATE TABLE MINE")
    hand(
        bench,
        "INSERT INTO MINE (ts, exchange_order_id, market_ticker, raw_json) "
        "SELECT '2026-11-22 11:00:00', toString(number), 'KX', '{}' FROM numbers(400)",
    )
    bench.clock.now += DAY

    done = bench.run()

    assert done.counts.n_new == 12
    (note,) = done.notes
    assert "fewer than the 12" in note


def test_rows_of_another_writer_are_no_reason(bench: Bench) -> None:
    bench.serve(month())
    for _ in range(3):
        hand(
            bench,
            "INSERT INTO MINE (ts, exchange_order_id, market_ticker, raw_json) "
            "SELECT '2026-11-22 11:00:00', toString(number), 'KX', '{}' FROM numbers(40)",
        )
        assert not [note for note in bench.run().notes if note.startswith("From")]
        bench.clock.now += HOUR


def test_each_key_has_to_notice_that_the_table_is_another_one(bench: Bench) -> None:
    """What a restricted key finds and repairs is only what it sees."""
    fills = [
        fill_at(NOW - (number + 2) * HOUR, number, subaccount=number % 2) for number in range(12)
    ]
    bench.serve(account_of(*fills))
    bench.run()
    hand(bench, "TRUNCATE TABLE MINE")
    bench.clock.now += DAY
    bench.serve(account_of(*fills), restricted_subaccount=1)
    bench.account = OTHER_KEY
    assert bench.run().counts.n_new == 6
    bench.serve(account_of(*fills))
    del bench.account

    done = bench.run()

    assert done.counts.n_new == 6
    assert len(bench.fills()) == 12


def test_a_run_of_a_range_does_not_cover_up_that_the_table_was_emptied(bench: Bench) -> None:
    bench.serve(month())
    bench.run()
    hand(bench, "TRUNCATE TABLE MINE")
    bench.clock.now += HOUR

    ranged = bench.run(since=NOW - DAY)

    assert ranged.watermark is None
    (note,) = ranged.notes
    assert "the next run without --since" in note
    bench.run()
    assert bench.fills() == truth(bench.exchange._account)


def test_a_run_that_fails_after_it_noticed_leaves_it_to_the_next(bench: Bench) -> None:
    bench.serve(month())
    bench.run()
    hand(bench, "TRUNCATE TABLE MINE")
    bench.faults.html_instead_of_json = 1.0
    with pytest.raises(Exception, match="HTML"):
        bench.run()
    bench.faults.html_instead_of_json = 0.0
    bench.run(dry_run=True)

    assert bench.run().counts.n_new == 12


@pytest.mark.parametrize("statement", ["TRUNCATE TABLE MINE", "EXCHANGE TABLES MINE AND OLD"])
def test_a_table_that_is_replaced_while_a_run_is_at_work_gets_no_watermark(
    bench: Bench, statement: str
) -> None:
    bench.serve(month())
    bench.run()
    hand(bench, "CREATE TABLE OLD AS MINE")
    bench.clock.now += DAY
    bench.exchange.add([fill_at(bench.clock.now - HOUR, 77)])
    once = [lambda: hand(bench, statement)]

    done = bench.run(progress=lambda _: once.pop()() if once else None)

    assert done.watermark is None
    assert any("while this run was at work" in note for note in done.notes)
    bench.run()
    assert len(bench.fills()) == 13


def test_merges_corrections_and_a_rename_and_back_are_no_reason(bench: Bench) -> None:
    bench.serve(month())
    bench.run()
    hand(bench, "ALTER TABLE MINE UPDATE size = 3 WHERE 1 SETTINGS mutations_sync = 2")
    assert bench.run(full=True).counts.n_corrected == 12
    hand(bench, "OPTIMIZE TABLE MINE FINAL")
    hand(bench, "RENAME TABLE MINE TO OLD")
    hand(bench, "RENAME TABLE OLD TO MINE")
    bench.clock.now += HOUR

    done = bench.run()

    assert done.notes == []
    assert done.window is not None
    assert done.window.start == NOW_FLOORED - HOUR
    assert bench.runs("fills_held")[-1] == (12,)


# truncate and migrate say themselves what they did


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    "request_", [{}, {"keep": False}, {"before": NOW - 5 * DAY}, {"garbage": True}], ids=str
)
def test_what_truncate_did_is_no_surprise_to_the_next_run(
    bench: Bench, request_: dict[str, Any]
) -> None:
    bench.serve(month())
    bench.run()
    bench.warehouse.command(
        f"INSERT INTO {bench.tables.name()} (ts, fill_id, exchange_order_id, market_ticker) "
        "VALUES (now(), 'junk', 'order', 'KX')"
    )
    truncate(bench, **request_)
    bench.clock.now += HOUR

    done = bench.run()

    assert done.notes == []
    left = [row for row in bench.fills() if row[0] != "junk"]
    assert left == truth(bench.exchange._account)
    assert bench.run().notes == []


def test_a_restored_backup_is_read_again_without_a_word(bench: Bench) -> None:
    bench.serve(month())
    bench.run()
    truncate(bench)
    (backup,) = list_backups(
        place_of(bench.warehouse, bench.tables, uuid.uuid4(), bench.clock.now)
    ).backups
    truncate(bench, restore=backup.name)
    bench.clock.now += HOUR

    done = bench.run()

    assert done.notes == []
    assert done.counts.n_known == 12
    assert bench.run().window != done.window


def test_truncate_does_not_cover_up_what_was_removed_by_hand(bench: Bench) -> None:
    bench.serve(month())
    bench.run()
    hand(bench, "ALTER TABLE MINE DELETE WHERE ts < '2026-11-17' SETTINGS mutations_sync = 2")
    bench.warehouse.command(
        f"INSERT INTO {bench.tables.name()} (ts, fill_id, exchange_order_id, market_ticker) "
        "VALUES (now(), 'junk', 'order', 'KX')"
    )
    truncate(bench, garbage=True)

    bench.run()

    assert bench.fills() == truth(bench.exchange._account)


def test_what_is_done_by_hand_after_a_truncate_is_noticed(bench: Bench) -> None:
    bench.serve(month())
    bench.run()
    bench.warehouse.command(
        f"INSERT INTO {bench.tables.name()} (ts, fill_id, exchange_order_id, market_ticker) "
        "VALUES (now(), 'junk', 'order', 'KX')"
    )
    truncate(bench, garbage=True)
    hand(bench, "TRUNCATE TABLE MINE")

    bench.run()

    assert bench.fills() == truth(bench.exchange._account)


def test_a_rebuild_by_migrate_is_no_surprise_to_the_next_run(bench: Bench) -> None:
    bench.serve(month())
    bench.run()
    rebuild(bench)
    bench.clock.now += HOUR

    done = bench.run()

    assert done.notes == []
    assert done.window is not None
    assert done.window.start is not None


def test_a_rebuild_that_left_fills_behind_is_read_again(bench: Bench) -> None:
    bench.serve(month())
    bench.run()
    hand(
        bench,
        "ALTER TABLE MINE UPDATE size = 0 WHERE ts < '2026-11-17' SETTINGS mutations_sync = 2",
    )
    rebuild(bench)

    bench.run()

    assert len(bench.rows("fill_id", more="WHERE size > 0")) == 12


def rebuild(bench: Bench) -> None:
    """Bring the table to an engine that migrate has to rebuild, in its own place."""
    hand(
        bench,
        "CREATE TABLE OLD AS MINE ENGINE = ReplacingMergeTree(version) PARTITION BY toYYYYMM(ts) "
        "ORDER BY (market_ticker, fill_id)",
    )
    hand(bench, "INSERT INTO OLD SELECT * FROM MINE")
    hand(bench, "EXCHANGE TABLES MINE AND OLD")
    hand(bench, "DROP TABLE OLD SYNC")
    # As the ledger has it, this is the table of the run before.
    identity = bench.warehouse.rows(
        "SELECT toString(uuid) FROM system.tables "
        "WHERE database = {d:String} AND name = {t:String}",
        {"d": bench.tables.database, "t": bench.tables.fills},
    )[0][0]
    bench.warehouse.command(
        f"ALTER TABLE {bench.tables.name('_runs')} UPDATE table_identity = {{i:String}} "
        "WHERE table_identity != '' SETTINGS mutations_sync = 2",
        {"i": identity},
    )
    migrate(bench.warehouse, bench.tables, NOW)
    require_today(bench.warehouse, bench.tables)
