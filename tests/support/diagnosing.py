"""A desk for diagnoses: an account and its tables in whatever state."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from kalshi_fills.diagnose.checks import Check
from kalshi_fills.diagnose.run import Diagnosis, diagnose
from kalshi_fills.exchange.client import RetryBudget
from kalshi_fills.exchange.endpoints import Exchange
from kalshi_fills.exchange.signing import Signer
from kalshi_fills.migrate.run import migrate
from kalshi_fills.pipeline.window import Window
from kalshi_fills.practice.account import PracticeAccount, PracticeFill
from kalshi_fills.practice.exchange import PracticeExchange
from kalshi_fills.practice.faults import Faults
from kalshi_fills.practice.ledger import client_order_id
from kalshi_fills.warehouse.client import Row, TextTable, Value, Warehouse
from kalshi_fills.warehouse.statements import Tables
from support.commandline import KEY_ID, Account
from support.legacy import insert
from support.syncing import (
    DAY,
    NOW,
    Bench,
    Clock,
)

CHECKS = [
    "volume_matches_api",
    "schema_migrated",
    "prices_valid",
    "no_periodic_cadence",
    "no_duplicate_rows",
    "settled_markets_match",
]


class LookingOnly:
    """A warehouse that fails the test where anything but a query is asked of it."""

    def __init__(self, inner: Warehouse) -> None:
        self._inner = inner
        self.asked: list[str] = []
        self.alone = threading.Lock()
        """Held while a statement is under way: others use the same connection."""

    def rows(
        self,
        sql: str,
        params: Mapping[str, Value] | None = None,
        *,
        wanted: TextTable | None = None,
    ) -> list[Row]:
        self.asked.append(sql)
        with self.alone:
            return self._inner.rows(sql, params, wanted=wanted)

    def _refuse(self, *_: object, **__: object) -> None:
        raise AssertionError("diagnose writes")

    command = insert = insert_lines = _refuse

    def give_up(self) -> None:
        self._inner.give_up()

    def close(self) -> None:
        raise AssertionError("diagnose closes what it did not open")


class Listening(Exchange):
    """The exchange, with somebody who does something just after a listing was read."""

    after: Callable[[str], None] = staticmethod(lambda _: None)

    def walk(self, path: str, *words: Any, **named: Any) -> Iterator[list[str]]:
        for items in super().walk(path, *words, **named):
            self.after(path)
            yield items


class Desk(Bench):
    """An account's exchange and its tables, in whatever state, synced by `run`."""

    def __init__(
        self,
        warehouse: Warehouse,
        tables: Tables,
        api_key: Account,
        serve: Callable[..., PracticeExchange],
        ready: Callable[[], Tables] | None = None,
    ) -> None:
        self.warehouse = warehouse
        self.tables = tables
        self.clock = Clock()
        self.faults = Faults()
        self.exchange: PracticeExchange
        self._signer = Signer(KEY_ID, api_key.key)
        self._serve = serve
        self._ready = ready

    def migrate(self) -> None:
        """Bring the tables to today's schema; where nothing is there, take tables that are."""
        there = self.warehouse.rows(
            "SELECT count() FROM system.databases WHERE name = {d:String}",
            {"d": self.tables.database},
        )
        if self._ready is not None and there == [(0,)] and self.tables.fills == "mm_fills":
            self.tables = self._ready()
        else:
            migrate(self.warehouse, self.tables, self.clock.now)

    def healthy(self, account: PracticeAccount, **options: Any) -> None:
        """Migrate, serve the account and sync all of it."""
        self.migrate()
        self.serve(account, **options)
        self.run()

    def diagnose(
        self,
        since: timedelta = DAY,
        until: datetime | None = None,
        *,
        offline: bool = False,
        after: Callable[[str], None] | None = None,
    ) -> Diagnosis:
        now = self.clock.now
        looking = LookingOnly(self.warehouse)
        if offline:
            return diagnose(looking, self.tables, None, Window(now - since, until or now), now)
        exchange = Listening(
            self.exchange.url,
            self._signer,
            rate_share=1.0,
            retry=RetryBudget(2.0, 3, 0.01, 0.02),
            clock=self.clock.seconds,
        )
        if after is not None:

            def alone(path: str) -> None:
                with looking.alone:
                    after(path)

            exchange.after = alone  # type: ignore[method-assign]
        try:
            return diagnose(
                looking,
                self.tables,
                exchange,
                Window(now - since, until or now),
                now,
                clock=lambda: self.clock.now,
            )
        finally:
            exchange.close()

    def change(self, fill: PracticeFill, what: str) -> None:
        """Change the row of a fill behind everyone's back."""
        self.warehouse.command(
            f"ALTER TABLE {self.tables.name()} UPDATE {what} WHERE fill_id = {{id:String}} "
            "SETTINGS mutations_sync = 2",
            {"id": fill.fill_id},
        )

    def delete(self, *fills: PracticeFill) -> None:
        """Delete the rows of fills."""
        self.warehouse.command(
            f"ALTER TABLE {self.tables.name()} DELETE WHERE fill_id IN {{ids:Array(String)}} "
            "SETTINGS mutations_sync = 2",
            {"ids": [fill.fill_id for fill in fills]},
        )

    def write(self, *rows: Mapping[str, object]) -> None:
        """Insert rows as another writer does, by the names of its own columns."""
        insert(self.warehouse, self.tables, rows)

    def ledger(self, status: str, started_ago: timedelta, **facts: object) -> None:
        """Note a run of sync that this test did not really make."""
        started = self.clock.now - started_ago
        row = {
            "run_id": uuid.uuid4(),
            "status": status,
            "started_at": started,
            "window_end": started,
            "recorded_at": started,
            **facts,
        }
        names = list(row)
        self.warehouse.insert(self.tables.name("_runs"), names, [list(row.values())])


def engine_row(fill: PracticeFill, **changes: object) -> dict[str, object]:
    """Return a fill as an engine of today inserts it into the table of today: it knows no id."""
    cents = fill.yes_price * 100
    return {
        "ts": datetime.fromtimestamp(0, NOW.tzinfo) + timedelta(microseconds=fill.executed_at_us),
        "engine_instance_id": "mm-7",
        "engine_version": "0.9.3",
        "market_ticker": fill.ticker,
        "exchange_order_id": fill.order_id,
        "client_order_id": client_order_id(fill.order_id),
        "side": fill.outcome_side,
        "price_cents": cents if fill.outcome_side == "yes" else 100 - cents,
        "size": fill.count,
        "decision_id": uuid.UUID(int=7),
        "raw_json": fill.payload_json("current"),
        **changes,
    }


def check(found: Diagnosis, name: str) -> Check:
    (one,) = [check for check in found.checks if check.name == name]
    return one


def statuses(found: Diagnosis) -> dict[str, str]:
    return {check.name: check.status for check in found.checks}


def causes(found: Diagnosis) -> list[str]:
    return [cause.name for cause in found.causes]


def assert_well(found: Diagnosis) -> None:
    """Assert that a diagnosis of a healthy account finds nothing at all."""
    assert found.breaks == []
    assert set(statuses(found).values()) <= {"pass", "skip"}, found.checks
    assert found.verdict == "pass"
    assert causes(found) == []
    assert found.root_cause.name == "none"
    assert found.root_cause.next == ""
    assert all(check.next == "" for check in found.checks)
    if not found.offline:
        assert statuses(found)["volume_matches_api"] == "pass"
