"""The exchange against the table: each break is found."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from support.passes import Meddling, delete
from support.syncing import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    Bench,
    account_of,
    fill_at,
    one_day,
    truth,
)

from kalshi_fills.practice.account import PracticeFill
from kalshi_fills.report.breaks import break_json


def replaced(bench: Bench, fill: PracticeFill, changes: str) -> str:
    """Return the statement that writes a later version of a fill's row."""
    return (
        f"INSERT INTO {bench.tables.name()} SELECT * REPLACE (version + 1 AS version, {changes}) "
        f"FROM {bench.tables.name()} FINAL WHERE fill_id = '{fill.fill_id}'"
    )


def engine_row(bench: Bench, moment: datetime, fill_id: str = "nobody-knows") -> None:
    bench.warehouse.insert(
        bench.tables.name(),
        ("ts", "fill_id", "exchange_order_id", "market_ticker", "side", "price_cents", "size"),
        [(moment, fill_id, "an-order", "KXT", "yes", Decimal(41), Decimal(10))],
    )


@pytest.fixture(params=[{}, {"since": NOW - DAY - HOUR}], ids=["everything", "a window"])
def window(request: pytest.FixtureRequest) -> dict[str, Any]:
    return request.param


def test_a_row_that_vanished_is_missing(bench: Bench, window: dict[str, Any]) -> None:
    account = one_day(80)
    bench.serve(account)
    victim = account.fills[40]

    done = bench.run(
        **window,
        warehouse=Meddling(bench.warehouse, lambda: bench.warehouse.command(delete(bench, victim))),
    )

    assert [(one.kind, one.scope, one.fill_id, one.order_id) for one in done.breaks] == [
        ("missing", "fill", victim.fill_id, victim.order_id)
    ]
    found = done.breaks[0]
    assert found.market_ticker == victim.ticker
    assert found.field is None
    assert found.table is None
    assert str(victim.count) in (break_json(found)["exchange"] or "")
    assert done.has_findings
    assert bench.run(full=True).breaks == []
    assert bench.fills() == truth(account)


def test_the_next_run_stores_what_was_found_missing(bench: Bench) -> None:
    """The watermark is the time up to which every fill is known to be stored."""
    account = one_day(80)
    bench.serve(account)
    victim = account.fills[40]
    bench.run(
        warehouse=Meddling(bench.warehouse, lambda: bench.warehouse.command(delete(bench, victim)))
    )

    bench.run()

    assert bench.fills() == truth(account)


def test_what_a_full_run_finds_missing_long_ago_is_stored_by_the_next_default_run(
    bench: Bench,
) -> None:
    account = one_day(80)
    bench.serve(account)
    bench.run()
    victim = account.fills[70]

    found = bench.run(
        full=True,
        warehouse=Meddling(bench.warehouse, lambda: bench.warehouse.command(delete(bench, victim))),
    )
    assert [one.fill_id for one in found.breaks] == [victim.fill_id]

    bench.run()

    assert bench.fills() == truth(account)


def test_a_row_nobody_knows_is_unexpected(bench: Bench, window: dict[str, Any]) -> None:
    account = one_day(80)
    bench.serve(account)
    engine_row(bench, NOW - 12 * HOUR)

    done = bench.run(**window)

    assert [(one.kind, one.scope, one.fill_id, one.order_id) for one in done.breaks] == [
        ("unexpected", "fill", "nobody-knows", "an-order")
    ]
    assert done.breaks[0].exchange is None
    assert "41" in (break_json(done.breaks[0])["table"] or "")
    assert done.has_findings
    assert bench.rows("count()") == [(81,)]


@pytest.mark.sampled(7)
@pytest.mark.parametrize(
    ("changes", "field", "told", "held"),
    [
        ("12.34 AS price_cents", "price_cents", "41.0000", "12.3400"),
        ("toDecimal64(9.99, 2) AS size", "size", "10.00", "9.99"),
        ("'no' AS side", "side", "yes", "no"),
        ("CAST(NULL, 'Nullable(Decimal(18, 6))') AS fee_dollars", "fee_dollars", "0.169330", ""),
        (
            "ts + toIntervalMicrosecond(1) AS ts",
            "ts",
            "2026-11-22 06:00:00.500000",
            "2026-11-22 06:00:00.500001",
        ),
    ],
)
def test_a_row_that_was_changed_is_a_mismatch_with_both_values(
    bench: Bench, window: dict[str, Any], changes: str, field: str, told: str, held: str
) -> None:
    victim = fill_at(NOW - 6 * HOUR, 1)
    bench.serve(account_of(victim, *(fill_at(NOW - 6 * HOUR, n) for n in range(2, 20))))

    done = bench.run(
        **window,
        warehouse=Meddling(
            bench.warehouse,
            lambda: bench.warehouse.command(replaced(bench, victim, changes)),
        ),
    )

    assert [tuple(break_json(one).values()) for one in done.breaks] == [
        (
            "mismatch",
            "fill",
            victim.fill_id,
            victim.order_id,
            victim.ticker,
            field,
            told,
            held,
        )
    ]
    healed = bench.run(full=True)
    assert (healed.counts.n_corrected, healed.breaks) == (1, [])


def test_breaks_of_distant_hours_are_all_found(bench: Bench) -> None:
    account = one_day(200)
    bench.serve(account)
    victims = account.fills[::40]

    def meddle() -> None:
        for victim in victims:
            bench.warehouse.command(delete(bench, victim))
        engine_row(bench, NOW - 40 * DAY)

    done = bench.run(warehouse=Meddling(bench.warehouse, meddle))

    assert {one.fill_id for one in done.breaks if one.kind == "missing"} == {
        victim.fill_id for victim in victims
    }
    assert [one.fill_id for one in done.breaks if one.kind == "unexpected"] == ["nobody-knows"]
    assert len(done.breaks) == len(victims) + 1


def test_a_row_ahead_of_the_exchange_is_no_break(bench: Bench) -> None:
    bench.serve(one_day(20), as_of_lag_seconds=600)
    engine_row(bench, NOW - 5 * MINUTE)

    assert bench.run().breaks == []
    bench.clock.now = NOW + HOUR
    assert [one.kind for one in bench.run().breaks] == ["unexpected"]


def test_a_fill_that_came_after_the_walk_is_no_break(bench: Bench) -> None:
    account = one_day(30)
    bench.serve(account)
    late = fill_at(
        datetime(1970, 1, 1, tzinfo=UTC)
        + timedelta(microseconds=account.fills[10].executed_at_us + 1)
    )

    def meddle() -> None:
        bench.exchange.add([late])
        bench.warehouse.command(delete(bench, account.fills[10]))

    done = bench.run(warehouse=Meddling(bench.warehouse, meddle))

    assert [(one.kind, one.fill_id) for one in done.breaks] == [
        ("missing", account.fills[10].fill_id)
    ]


def test_rows_of_old_engines_are_corrected_and_the_run_says_in_what(bench: Bench) -> None:
    account = one_day(30)
    bench.serve(account)
    victim = account.fills[3]
    bench.warehouse.insert(
        bench.tables.name(),
        ("ts", "fill_id", "exchange_order_id", "market_ticker", "side", "price_cents", "size"),
        [(NOW, victim.fill_id, victim.order_id, victim.ticker, victim.outcome_side, 0, 0)],
    )

    done = bench.run()

    assert (done.counts.n_corrected, done.counts.n_new) == (1, 29)
    assert {"ts", "price_cents", "size"} <= set(done.corrections.by_field)
    kept = json.loads(bench.runs("corrections")[0][0])
    assert kept["by_field"]["price_cents"] == 1
    sizes = [one for one in kept["first"] if one["field"] == "size"]
    assert [(one["fill_id"], one["table"], one["exchange"]) for one in sizes] == [
        (victim.fill_id, "0.00", str(victim.count))
    ]
    assert bench.fills() == truth(account)
    assert not done.has_findings
