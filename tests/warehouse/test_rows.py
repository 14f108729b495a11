"""Rows that others leave in the table: of equal version, under other tickers, of strange bytes."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from support.syncing import HOUR, MINUTE, NOW, Bench, account_of, fill_at, one_day, truth

from kalshi_fills.practice.account import PracticeAccount
from kalshi_fills.warehouse import stored
from kalshi_fills.warehouse.statements import quote_identifier
from kalshi_fills.warehouse.store import FillStore

MANY = 12_000


def engines_rows(bench: Bench, changes: str = "", version: str = "0") -> None:
    """Insert each stored fill as an engine would, of a version of its own choice."""
    table = bench.tables.name()
    replaced = f"{version} AS version, 0 AS content_hash{changes and ', '}{changes}"
    bench.warehouse.command(f"INSERT INTO {table} SELECT * REPLACE ({replaced}) FROM {table} FINAL")


def stop_merges(bench: Bench) -> None:
    bench.warehouse.command(f"SYSTEM STOP MERGES {bench.tables.name()}")


def merge(bench: Bench) -> None:
    bench.warehouse.command(f"SYSTEM START MERGES {bench.tables.name()}")
    bench.warehouse.command(f"OPTIMIZE TABLE {bench.tables.name()} FINAL")


def two_rows_each(bench: Bench, account: PracticeAccount) -> None:
    """Leave two rows of an engine for each fill: a right one, and one of another size and fee."""
    table = bench.tables.name()
    bench.serve(account)
    bench.run()
    bench.warehouse.command(f"CREATE TABLE {table[:-1]}_copy` AS {table}")
    copy = f"{table[:-1]}_copy`"
    right = "0 AS version, 0 AS content_hash"
    bench.warehouse.command(f"INSERT INTO {copy} SELECT * REPLACE ({right}) FROM {table} FINAL")
    bench.warehouse.command(f"TRUNCATE TABLE {table}")
    wrong = "size + 1 AS size, 0.5 AS fee_dollars"
    for number in range(2):  # which of the two comes last changes from fill to fill
        for condition in ("=", "!="):
            changed = f" REPLACE ({wrong})" if condition == "=" else ""
            bench.warehouse.command(
                f"INSERT INTO {table} SELECT *{changed} FROM {copy} "
                f"WHERE cityHash64(fill_id) % 2 {condition} {number}"
            )
    bench.warehouse.command(f"DROP TABLE {copy}")


@pytest.mark.sampled(4)
@pytest.mark.parametrize("many", [3_000, MANY])
def test_thousands_of_fills_with_two_rows_of_one_version_are_right_after_a_sync(
    bench: Bench,
    many: int,
) -> None:
    account = one_day(many)
    stop_merges(bench)
    two_rows_each(bench, account)
    assert bench.warehouse.rows(f"SELECT count() FROM {bench.tables.name()}") == [(2 * many,)]

    done = bench.run(full=True)

    assert done.counts.n_corrected == many
    assert not done.breaks
    assert bench.fills() == truth(account)
    merge(bench)
    assert bench.fills() == truth(account)
    assert bench.run(full=True).counts.n_known == many


@pytest.mark.torture
@pytest.mark.sampled(2)
def test_thousands_of_such_fills_are_right_where_their_rows_were_merged_by_chance(
    bench: Bench,
) -> None:
    account = one_day(MANY)
    two_rows_each(bench, account)
    merge(bench)

    assert not bench.run(full=True).breaks

    assert bench.fills() == truth(account)
    assert bench.run(full=True).counts.n_known == MANY


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "changes",
    [
        "size + 1 AS size",
        "toUUID('5b0d2a1f-51c3-4d0b-9f57-8e0f7a3e9c11') AS decision_id",
        "2 AS own",
    ],
)
def test_rows_of_the_version_of_a_sync_that_differ_in_anything_are_written_once_more(
    bench: Bench, changes: str
) -> None:
    account = one_day(40)
    table = bench.tables.name()
    bench.warehouse.command(f"ALTER TABLE {table} ADD COLUMN own UInt8 DEFAULT 1")
    stop_merges(bench)
    bench.serve(account)
    bench.run()
    engines_rows(bench, changes, "version")

    bench.clock.now += MINUTE
    done = bench.run(full=True)

    assert done.counts.n_corrected == 40
    assert not done.breaks
    assert bench.fills() == truth(account)
    seen = bench.rows("fill_id, decision_id, own")
    merge(bench)
    assert bench.rows("fill_id, decision_id, own") == seen
    bench.clock.now += MINUTE
    assert bench.run(full=True).counts.n_known == 40


@pytest.mark.parametrize("change", ["", "size + 1 AS size", "ts + 86400 AS ts", "'' AS fill_id"])
def test_hours_are_the_same_whether_or_not_the_table_holds_rows_that_replace_others(
    bench: Bench, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.serve(one_day(40))
    stop_merges(bench)
    bench.run()
    store = FillStore(bench.warehouse, bench.tables, bench.runs("run_id")[0][0], NOW, True)
    distinct = store.hours(None, NOW + 48 * HOUR)
    monkeypatch.setattr(stored, "_DISTINCT_ROWS", 0)
    assert store.hours(None, NOW + 48 * HOUR) == distinct
    monkeypatch.setattr(stored, "_DISTINCT_ROWS", 100)
    assert sum(hour.fills for hour in distinct.values()) == 40

    engines_rows(bench, change, "version + 1")

    quick = store.hours(None, NOW + 48 * HOUR)
    monkeypatch.setattr(stored, "_DISTINCT_ROWS", 0)
    assert store.hours(None, NOW + 48 * HOUR) == quick
    assert (quick == distinct) == (not change)
    if "fill_id" not in change:
        assert sum(hour.fills for hour in quick.values()) == 40
    monkeypatch.setattr(stored, "_DISTINCT_ROWS", 100)
    for start, end in ((NOW - 20 * HOUR, NOW - 9 * HOUR), (NOW - 48 * HOUR, NOW + 48 * HOUR)):
        assert store.hours(start, end, stored._MANY_FILLS) == store.hours(start, end)


def test_exact_copies_of_rows_are_known(bench: Bench) -> None:
    stop_merges(bench)
    bench.serve(one_day(40))
    bench.run()
    table = bench.tables.name()
    bench.warehouse.command(f"INSERT INTO {table} SELECT * FROM {table} FINAL")

    done = bench.run(full=True)

    assert (done.counts.n_known, done.breaks) == (40, [])


def test_an_undefined_row_beyond_the_pass_is_a_break(bench: Bench) -> None:
    fill = fill_at(NOW - 2 * HOUR)
    bench.serve(account_of(fill))
    stop_merges(bench)
    bench.run()
    engines_rows(bench, "size + 1 AS size", "version")
    store = FillStore(bench.warehouse, bench.tables, bench.runs("run_id")[0][0], NOW, True)
    start = NOW - 3 * HOUR

    assert sum(hour.fills for hour in store.hours(start, NOW).values()) == 2
    assert sum(hour.fills for hour in store.hours(None, NOW).values()) == 2
    assert len(store.rows_between(start, NOW)) == 2


# Under another ticker


def test_a_row_under_another_ticker_that_came_after_the_fill_is_removed_by_the_next_sync(
    bench: Bench,
) -> None:
    account = one_day(40)
    bench.serve(account)
    bench.run()
    decision = "toUUID('5b0d2a1f-51c3-4d0b-9f57-8e0f7a3e9c11') AS decision_id"
    engines_rows(bench, f"concat('X-', market_ticker) AS market_ticker, {decision}")

    bench.clock.now += MINUTE
    done = bench.run(full=True)

    assert not done.breaks
    assert done.open_breaks == 0  # what the pass repaired itself is not open
    assert bench.fills() == truth(account)
    assert bench.rows("DISTINCT toString(decision_id)") == [
        ("5b0d2a1f-51c3-4d0b-9f57-8e0f7a3e9c11",)
    ]
    assert bench.run(full=True).counts.n_known == 40


class CutShort:
    """A warehouse that fails at the deletion of what stands under other tickers."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def command(self, sql: str, params: Any = None) -> None:
        if "DELETE WHERE" in sql:
            raise RuntimeError("killed")
        self._real.command(sql, params)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def test_a_correction_of_a_ticker_that_was_cut_short_is_finished_by_the_next_sync(
    bench: Bench,
) -> None:
    account = one_day(20)
    bench.serve(account)
    bench.run()
    table = bench.tables.name()
    bench.warehouse.command(
        f"INSERT INTO {table} SELECT * REPLACE (concat('X-', market_ticker) AS market_ticker) "
        f"FROM {table} FINAL"
    )
    bench.warehouse.command(
        f"ALTER TABLE {table} DELETE WHERE NOT startsWith(market_ticker, 'X-') "
        "SETTINGS mutations_sync = 2"
    )
    bench.clock.now += MINUTE
    with pytest.raises(RuntimeError, match="killed"):
        bench.run(full=True, warehouse=CutShort(bench.warehouse))  # type: ignore[arg-type]

    bench.clock.now += MINUTE
    done = bench.run(full=True)

    assert not done.breaks
    assert bench.fills() == truth(account)
    bench.clock.now += MINUTE
    assert bench.run(full=True).counts.n_known == 20


# Looking up by the sort key


def test_a_lookup_of_known_fills_reads_no_more_of_a_larger_table(bench: Bench) -> None:
    account = one_day(200)
    bench.serve(account)
    bench.run()
    table = bench.tables.name()

    def read_rows() -> int:
        statement = bench.tables.sql("sync/stored_digests_by_key")
        keys = bench.rows("DISTINCT market_ticker, fill_id, exchange_order_id")[:5]
        bench.warehouse.command(f"OPTIMIZE TABLE {table} FINAL")
        condition = ", ".join(f"({', '.join(repr(text) for text in key)})" for key in keys)
        statement = statement.replace(
            "(SELECT market_ticker, fill_id, order_id FROM wanted)", f"({condition})"
        )
        plan = bench.warehouse.rows(f"EXPLAIN indexes = 1 {statement}")
        granules = [str(row[0]) for row in plan if "Granules:" in str(row[0])]
        return int(granules[0].split("Granules:")[1].split("/")[0])

    small = read_rows()
    bench.warehouse.command(
        f"INSERT INTO {table} SELECT t.* REPLACE (concat('KXZ-', toString(n % 997)) AS "
        "market_ticker, toString(n) AS fill_id, toString(intDiv(n, 3)) AS exchange_order_id) "
        f"FROM {table} AS t CROSS JOIN (SELECT number AS n FROM numbers(2000)) AS more"
    )

    assert read_rows() <= small + 1


# Bytes that are no UTF-8


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    "column", ["action", "raw_json", "side", "exchange_order_id", "engine_version", "fill_id"]
)
def test_a_row_of_bytes_that_are_no_utf8_is_corrected_or_a_break_and_stops_nothing(
    bench: Bench, column: str
) -> None:
    account = one_day(20)
    bench.serve(account)
    bench.run()
    name = quote_identifier(column)
    engines_rows(bench, f"concat({name}, unhex('ff00fe1b')) AS {name}", "version + 1")
    strange = bench.warehouse.rows(
        f"SELECT count() FROM {bench.tables.name()} FINAL WHERE NOT isValidUTF8({name})"
    )
    assert strange == [(20,)]

    bench.clock.now += MINUTE
    done = bench.run(full=True)

    if column in ("exchange_order_id", "fill_id"):  # fills that the exchange does not know
        assert {one.kind for one in done.breaks} == {"unexpected"}
        assert "\\xff" in "".join((one.order_id or "") + (one.fill_id or "") for one in done.breaks)
    else:
        assert not done.breaks
        assert bench.fills() == truth(account)
    again = bench.run(full=True, until=NOW + timedelta(minutes=1))
    assert again.counts.n_known == 20


def test_links_of_bytes_that_are_no_utf8_stay_as_they_were(bench: Bench) -> None:
    account = one_day(20)
    bench.serve(account)
    bench.run()
    engines_rows(bench, "unhex('ff00fe') AS engine_version, size + 1 AS size", "version + 1")

    bench.clock.now += MINUTE
    assert bench.run(full=True).counts.n_corrected == 20

    assert bench.rows("DISTINCT hex(engine_version)") == [("FF00FE",)]
    assert bench.rows("sum(size)") == [(sum((fill.count for fill in account.fills), Decimal(0)),)]
