"""The incident from start to end, without an account or a server.

A practice exchange with five fills, a table of an earlier time into which a broken engine wrote
4,774 rows, and the real command line run as processes, with its real output. Everything it makes
is in one folder, which is made anew each time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kalshi_fills.practice.account import fills_of_last_month, incident_rows, the_incident
from kalshi_fills.practice.exchange import PracticeExchange
from kalshi_fills.warehouse.client import Warehouse
from kalshi_fills.warehouse.embedded import open_embedded

FOLDER = Path(".demo")
KEY_ID = "practice-key"

LEGACY_TABLE = """
    CREATE TABLE kalshi.mm_fills
    (
        ts DateTime64(3, 'UTC'), engine_instance_id String, engine_version String,
        market_ticker String, exchange_order_id String, client_order_id String,
        side LowCardinality(String), price Float64, price_cents UInt16, size Float64,
        fee Float64, decision_id UUID, raw_json String
    )
    ENGINE = MergeTree
    PARTITION BY toDate(ts)
    ORDER BY (market_ticker, ts)
"""
"""The table as engines of that time made it."""


class Stage(Protocol):
    """Shows the story, on a terminal or in a test."""

    def narrate(self, text: str) -> None:
        """Print a text before the next step."""

    def run(self, *words: str, expected_code: int = 0) -> None:
        """Run a command and show its output; its exit code must be the expected one."""


class Engine(Protocol):
    """The engine that writes what it should not."""

    def make_its_table(self) -> None:
        """Create the legacy table and fill it."""

    def poll_again(self) -> None:
        """Write a few more rows into the table, whatever its schema."""

    def lose(self, fill_id: str) -> None:
        """Delete the row of a fill, as somebody does who thins the table out by hand."""


class _Stage:
    """Prints to stdout, where the commands print as well."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._log = folder / "log.jsonl"
        self._environment = environment

    def narrate(self, text: str) -> None:
        print(f"\n{text}", flush=True)

    def run(self, *words: str, expected_code: int = 0) -> None:
        print(f"\n$ kalshi-fills {' '.join(words)}\n", flush=True)
        with self._log.open("a+") as log:
            start = log.tell()
            done = subprocess.run(  # noqa: S603 - our own command line
                [sys.executable, "-m", "kalshi_fills", *words],
                env=self._environment,
                stderr=log,
                check=False,
            )
            if done.returncode != expected_code:
                log.seek(start)
                sys.stderr.write(log.read())
                sys.exit(f"the demo stopped: exit code {done.returncode}, not {expected_code}")


def main() -> None:
    """Play the demo; exit with 0 if every step ended as expected."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    folder = FOLDER.resolve()
    key = Ed25519PrivateKey.generate()
    key_file = folder / "key.pem"
    with os.fdopen(os.open(key_file, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    now = datetime.now(UTC)
    with PracticeExchange(
        account=the_incident(now), keys={KEY_ID: key.public_key()}, enforce_limits=True
    ) as exchange:
        stage = _Stage(
            folder,
            {
                **os.environ,
                "CLICKHOUSE_URL": f"chdb://{folder}/clickhouse",
                "KALSHI_API_URL": exchange.url,
                "KALSHI_API_KEY_ID": KEY_ID,
                "KALSHI_PRIVATE_KEY_PATH": str(key_file),
                "KALSHI_FILLS_LOG_FORMAT": "json",
                "XDG_STATE_HOME": str(folder / "state"),
            },
        )
        play(stage, exchange, BrokenEngine(folder / "clickhouse", now))
    print(_OWN_ACCOUNT, flush=True)


class BrokenEngine:
    """The broken engine: it writes every item of each answer as a row, with the columns it knows.

    The embedded engine lets one process in at a time, so it opens and closes it each time.
    """

    def __init__(self, folder: Path, now: datetime) -> None:
        self._folder = folder
        self._rows = incident_rows(now)

    def make_its_table(self) -> None:
        """Create the legacy table and fill it."""
        with contextlib.closing(open_embedded(self._folder)) as warehouse:
            warehouse.command("CREATE DATABASE IF NOT EXISTS kalshi")
            warehouse.command(LEGACY_TABLE)
            self._insert(warehouse, self._rows)

    def poll_again(self) -> None:
        """Write the last three minutes' rows once more."""
        with contextlib.closing(open_embedded(self._folder)) as warehouse:
            self._insert(warehouse, self._rows[-240:])

    def lose(self, fill_id: str) -> None:
        """Delete the row of a fill, as somebody does who thins the table out by hand."""
        with contextlib.closing(open_embedded(self._folder)) as warehouse:
            warehouse.command(
                "ALTER TABLE kalshi.mm_fills DELETE WHERE fill_id = {id:String} "
                "SETTINGS mutations_sync = 2",
                {"id": fill_id},
            )

    def _insert(self, warehouse: Warehouse, rows: list[dict[str, Any]]) -> None:
        warehouse.insert("kalshi.mm_fills", list(rows[0]), [tuple(row.values()) for row in rows])


def play(stage: Stage, exchange: PracticeExchange, engine: Engine) -> None:
    """Play the story step by step.

    Args:
        stage: prints texts and runs commands.
        exchange: its account had the fills of the incident.
        engine: creates its legacy table, and writes on after it was migrated.
    """
    engine.make_its_table()
    stage.narrate(
        f"A practice exchange, {exchange.url}, has five fills.\n"
        "An engine polled it and wrote whatever came: 4,774 rows. What is wrong?"
    )
    stage.run("diagnose", expected_code=3)
    stage.narrate("First the schema. The old table is kept aside; each real fill is carried over.")
    stage.run("migrate")
    engine.poll_again()
    stage.narrate("The engine wrote 240 more rows before it was stopped. Away with the garbage:")
    stage.run("truncate", "--garbage", "--yes")
    stage.narrate("The fills from the exchange correct what the engine had guessed.")
    stage.run("sync")
    stage.narrate("Is the table right now?")
    stage.run("diagnose")
    stage.narrate("Yes. From now on cron runs `sync`; a second run inserts nothing.")
    stage.run("sync")
    _lose_a_fill_of_last_month(stage, exchange, engine)


def _lose_a_fill_of_last_month(stage: Stage, exchange: PracticeExchange, engine: Engine) -> None:
    now = datetime.now(UTC)
    fills = fills_of_last_month(now)
    exchange.add(fills)
    exchange.portfolio.settle(fills[0].ticker, "yes", 100, now - timedelta(minutes=30))
    stage.narrate(
        "One more thing. The account traded a month ago, too, in a market that was\n"
        "settled half an hour ago. `sync` reads that month, and what was settled."
    )
    stage.run("sync", "--since", "40d")
    engine.lose(fills[1].fill_id)
    stage.narrate(
        "Then somebody deletes a row of that month. No fill of the last day is missing,\n"
        "no order differs, and the market is in no position any more. Only what was\n"
        "settled shows it:"
    )
    stage.run("diagnose", expected_code=3)
    stage.narrate("The command that it names repairs it.")
    first = datetime.fromtimestamp(fills[0].executed_at_us / 1_000_000, UTC)
    stage.run("sync", "--since", f"{first:%Y-%m-%d}")
    stage.run("diagnose")


_OWN_ACCOUNT = """
For your own account set these, or put them into a file `.env`:

    KALSHI_API_KEY_ID=...          the id of an API key with the read scope
    KALSHI_PRIVATE_KEY_PATH=...    its private key, RSA or Ed25519
    KALSHI_API_URL=prod            or demo
    CLICKHOUSE_URL=clickhouse://user:password@host:9000/kalshi
                                   leave it out for the embedded engine

    .venv/bin/kalshi-fills migrate && .venv/bin/kalshi-fills sync
"""


if __name__ == "__main__":
    main()
