"""One pass after another, from a practice exchange into the tables."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from kalshi_fills.exchange.client import RetryBudget
from kalshi_fills.exchange.endpoints import Exchange
from kalshi_fills.exchange.signing import Signer
from kalshi_fills.migrate.run import migrate
from kalshi_fills.pipeline.stages import Counts
from kalshi_fills.practice.account import PracticeAccount, PracticeFill, generate_account
from kalshi_fills.practice.exchange import Limits, PracticeExchange
from kalshi_fills.practice.faults import Faults
from kalshi_fills.practice.ledger import to_us
from kalshi_fills.sync.report import SyncReport
from kalshi_fills.sync.run import sync
from kalshi_fills.sync.watermark import SyncRequest
from kalshi_fills.warehouse.client import Warehouse
from kalshi_fills.warehouse.standing import account_of
from kalshi_fills.warehouse.statements import Tables
from kalshi_fills.warehouse.store import FillStore
from support.commandline import KEY_ID, Account

NOW = datetime(2026, 11, 22, 12, 0, 0, 500_000, tzinfo=UTC)

NOW_FLOORED = NOW.replace(microsecond=0)

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=count) for count in (1, 60, 3600, 86_400))

TRUTH_COLUMNS = (
    "fill_id, exchange_order_id, ts, market_ticker, side, action, outcome_side, book_side, "
    "price_cents, yes_price_dollars, no_price_dollars, size, fee_dollars, is_taker, "
    "subaccount_number, exchange_index, direction_inferred, id_synthetic, source, client_order_id"
)


def truth(account: PracticeAccount, cutoff: datetime | None = None) -> list[tuple[Any, ...]]:
    """Return the rows that the account's fills must be, by TRUTH_COLUMNS, sorted.

    Values are the account's own; only which of them the exchange told is read from the payload.
    """
    rows = []
    for fill in account.fills:
        told = fill.payload(account.era_of(fill))
        yes = fill.outcome_side == "yes"
        archived = cutoff is not None and fill.executed_at_us < to_us(cutoff)
        rows.append(
            (
                fill.fill_id,
                fill.order_id,
                datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=fill.executed_at_us),
                fill.ticker,
                fill.outcome_side,
                told.get("action", ""),
                fill.outcome_side,
                "bid" if yes else "ask",
                100 * (fill.yes_price if yes else 1 - fill.yes_price),
                fill.yes_price,
                1 - fill.yes_price,
                fill.count,
                fill.fee if "fee_cost" in told else None,
                fill.is_taker,
                fill.subaccount if "subaccount_number" in told else None,
                fill.exchange_index if "exchange_index" in told else None,
                "outcome_side" not in told and "book_side" not in told,
                False,
                "historical" if archived else "live",
                told.get("client_order_id", ""),
            )
        )
    return sorted(rows, key=lambda row: row[:2])


class Clock:
    """A clock that stands where it is put, for both sides; only the ledger sees it tick."""

    def __init__(self) -> None:
        self.now = NOW
        self._ticks = 0

    def __call__(self) -> datetime:
        self._ticks += 1
        return self.now + self._ticks * timedelta(microseconds=10)

    def seconds(self) -> float:
        return self.now.timestamp()


class Bench:
    """An account's exchange and its migrated tables, synced by `run`."""

    account = account_of("practice", KEY_ID)
    """The same one, at whatever port its exchange listens."""

    def __init__(
        self,
        warehouse: Warehouse,
        tables: Tables,
        api_key: Account,
        serve: Callable[..., PracticeExchange],
        *,
        migrated: bool = False,
    ) -> None:
        self.warehouse = warehouse
        self.tables = tables
        self.clock = Clock()
        self.faults = Faults()
        self.exchange: PracticeExchange
        self._signer = Signer(KEY_ID, api_key.key)
        self._serve = serve
        if not migrated:
            migrate(warehouse, tables, NOW)

    def serve(self, account: PracticeAccount, **options: Any) -> PracticeExchange:
        options = {
            "clock": self.clock.seconds,
            "limits": Limits(refill_rate=1_000_000, bucket_capacity=1_000_000),
            "faults": self.faults,
        } | options
        self.exchange = self._serve(account, **options)
        return self.exchange

    def run(
        self,
        *,
        warehouse: Warehouse | None = None,
        progress: Callable[[SyncReport], None] = lambda _: None,
        clock: Callable[[], datetime] | None = None,
        report: SyncReport | None = None,
        **request: Any,
    ) -> SyncReport:
        asked = SyncRequest(**request)
        done = report or SyncReport(uuid.uuid4(), asked.dry_run)
        exchange = Exchange(
            self.exchange.url,
            self._signer,
            rate_share=1.0,
            retry=RetryBudget(2.0, 3, 0.01, 0.02),
            clock=self.clock.seconds,
        )
        now = self.clock.now
        store = FillStore(warehouse or self.warehouse, self.tables, done.run_id, now, asked.dry_run)
        try:
            sync(
                exchange,
                store,
                asked,
                done,
                account=self.account,
                now=now,
                clock=clock or self.clock,
                progress=progress,
            )
        finally:
            exchange.close()
        assert done.status == "done"
        assert_identity(done.counts)
        return done

    def rows(self, what: str, suffix: str = "", more: str = "") -> list[tuple[Any, ...]]:
        return self.warehouse.rows(
            f"SELECT {what} FROM {self.tables.name(suffix)} FINAL {more} ORDER BY ALL"
        )

    def fills(self) -> list[tuple[Any, ...]]:
        return self.rows(TRUTH_COLUMNS)

    def runs(self, what: str) -> list[tuple[Any, ...]]:
        return self.warehouse.rows(
            f"SELECT {what} FROM {self.tables.name('_runs')} FINAL ORDER BY started_at, run_id"
        )

    def physical(self) -> dict[str, int]:
        """Count every row of every table, whatever replaces what."""
        return {
            suffix: self.warehouse.rows(f"SELECT count() FROM {self.tables.name(suffix)}")[0][0]
            for suffix in ("", "_rejected", "_runs")
        }


def assert_identity(counts: Counts) -> None:
    told = counts.as_dict()
    assert told["n_api"] == sum(
        told[name] for name in ("n_inserted", "n_known", "n_duplicate", "n_rejected")
    )
    assert told["n_inserted"] == told["n_new"] + told["n_corrected"]
    reached = [told[f"n_{stage}"] for stage in ("api", "raw", "real", "valid", "gated")]
    assert reached == sorted(reached, reverse=True)
    assert reached[-1] == told["n_inserted"] + told["n_known"] + told["n_duplicate"]


def one_day(fills: int = 60, seed: int = 5, **options: Any) -> PracticeAccount:
    """Return an account that traded for the day before now, the last hour left out."""
    return generate_account(seed, fills, start=NOW - DAY, end=NOW - HOUR, **options)


def fill_at(moment: datetime, number: int = 1, **changes: Any) -> PracticeFill:
    plain = PracticeFill(
        fill_id=f"{number:08x}-feed-4000-8000-000000000000",
        order_id=f"{number:08x}-beef-4000-8000-000000000000",
        ticker="KXHIGHNY-26NOV23-B52.5",
        outcome_side="yes",
        count=Decimal("10.00"),
        yes_price=Decimal("0.4100"),
        fee=Decimal("0.169330"),
        is_taker=True,
        subaccount=0,
        exchange_index=0,
        executed_at_us=to_us(moment),
    )
    return replace(plain, **changes)


def account_of(*fills: PracticeFill) -> PracticeAccount:
    newest_first = sorted(fills, key=lambda fill: fill.place, reverse=True)
    return PracticeAccount(fills=newest_first, end_us=to_us(NOW), eras="current")


def claim(moment: datetime | None = None, **changes: Any) -> dict[str, Any]:
    """Return an item that claims to be a fill and cannot be read as one."""
    item = fill_at(moment or NOW, 99).payload("current")
    item |= {"count_fp": "many", "new_key_of_tomorrow": 1}
    if moment is None:
        item |= {"created_time": None, "ts": None}
    return item | changes


def canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True)
