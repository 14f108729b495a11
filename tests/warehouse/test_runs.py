"""The ledger of runs."""

from __future__ import annotations

import uuid
from datetime import timedelta
from decimal import Decimal

from support.book import FILL, NOW, Book, kind, run

from kalshi_fills.pipeline.stages import Counts


def test_a_run_is_one_row_that_says_how_it_ended(book: Book) -> None:
    counts = Counts(
        n_api=12, n_raw=11, n_real=10, n_valid=9, n_gated=8, n_new=3, n_corrected=2, n_known=2,
        n_duplicate=1, n_rejected=4,
    )  # fmt: skip
    end = NOW + timedelta(seconds=3)
    book.store().record(run(), NOW)

    book.store().record(
        run(status="done", finished_at=end, watermark=NOW, counts=counts, error="it's"), end
    )

    for _ in ("before a merge", "after it"):
        assert book.rows(
            "run_id, status, started_at, finished_at, window_start, window_end, watermark, n_api, "
            "n_raw, n_real, n_valid, n_gated, n_new, n_corrected, n_known, n_duplicate, "
            "n_rejected, n_inserted, host, pid, error, tool_version != ''",
            "_runs",
        ) == [
            (
                uuid.UUID(int=7), "done", NOW, end, None, NOW, NOW,
                12, 11, 10, 9, 8, 3, 2, 2, 1, 4, 5, "host", 4711, "it's", 1,
            )
        ]  # fmt: skip
        book.merge("_runs")


def test_the_watermark_is_that_of_the_last_finished_run(book: Book) -> None:
    store = book.store()
    assert store.last_watermark() is None

    ends = [
        ("done", NOW - timedelta(hours=3)),
        ("done", NOW - timedelta(hours=2)),
        ("failed", NOW - timedelta(hours=1)),
        ("running", NOW),
    ]
    for number, (status, watermark) in enumerate(ends):
        store.record(
            run(run_id=uuid.UUID(int=number + 1), status=status, watermark=watermark),
            NOW + timedelta(minutes=number),
        )

    assert store.last_watermark() == NOW - timedelta(hours=2)


def test_unfinished_runs_are_those_of_any_host_that_still_run(book: Book) -> None:
    store = book.store()
    for number, (status, host) in enumerate(
        [("running", "host"), ("done", "host"), ("failed", "host"), ("running", "elsewhere")]
    ):
        store.record(run(run_id=uuid.UUID(int=number + 1), status=status, host=host), NOW)

    found = sorted(store.unfinished())

    assert [(one.run_id, one.host, one.pid, one.started_at) for one in found] == [
        (uuid.UUID(int=1), "host", 4711, NOW),
        (uuid.UUID(int=4), "elsewhere", 4711, NOW),
    ]


def test_a_correction_takes_the_operators_own_columns_along(book: Book) -> None:
    table = book.tables.name()
    book.warehouse.command(
        f"ALTER TABLE {table} ADD COLUMN strategy String, ADD COLUMN edge Float64"
    )
    book.engine(strategy="mine", edge=0.25, price_cents=Decimal(99))

    written = book.write(FILL)

    assert kind(written) == "corrected"
    assert book.rows("strategy, edge, yes_price_dollars") == [
        ("mine", 0.25, FILL.yes_price_dollars)
    ]
