"""The tool at work without an account or a server: a practice exchange and the embedded engine.

Every step is a real command line run as a process, with its real output. Everything it makes is
in one folder, which is made anew each time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kalshi_fills.practice.account import generate_account
from kalshi_fills.practice.exchange import PracticeExchange

FOLDER = Path(".demo")
KEY_ID = "practice-key"


class _Stage:
    """Says a sentence, runs a command, and shows what it prints."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._log = folder / "log.jsonl"
        self._environment = environment

    def say(self, text: str) -> None:
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
    """Play the demo; exit 0 if every step ended as it must."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    folder = FOLDER.resolve()
    key = Ed25519PrivateKey.generate()
    key_file = folder / "key.pem"
    with os.fdopen(os.open(key_file, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    now = datetime.now(UTC)
    account = generate_account(
        2026, 5_000, start=now - timedelta(days=90), end=now - timedelta(minutes=1)
    )
    with PracticeExchange(
        account=account,
        keys={KEY_ID: key.public_key()},
        cutoff=now - timedelta(days=60),
        enforce_limits=True,
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
            },
        )
        _play(stage, exchange, len(account.fills))
    print(_OWN_ACCOUNT, flush=True)


def _play(stage: _Stage, exchange: PracticeExchange, fills: int) -> None:
    stage.say(
        f"A practice exchange runs on {exchange.url}.\n"
        f"The account there has {fills:,} fills of the last 90 days: the older ones in the\n"
        "historical tier, the newer in the live one.\n"
        "First the tables: `migrate` makes them where there are none."
    )
    stage.run("migrate")
    stage.say("Now `sync` pulls every fill through the stages and stores each exactly once.")
    stage.run("sync", "--rate-share", "1")
    stage.say(
        "The same again, as cron would. It reads the hour before the watermark once more, finds\n"
        "every fill of it known, and inserts nothing."
    )
    stage.run("sync", "--rate-share", "1")


_OWN_ACCOUNT = """
For your own account, set these (or put them into a file `.env`) and run the same commands:

    KALSHI_API_KEY_ID=...              the id of an API key with the read scope
    KALSHI_PRIVATE_KEY_PATH=...        its private key, RSA or Ed25519
    KALSHI_API_URL=prod                or demo
    CLICKHOUSE_URL=clickhouse://user:password@host:9000/kalshi
                                       leave it out for the embedded engine

    .venv/bin/kalshi-fills migrate && .venv/bin/kalshi-fills sync
"""


if __name__ == "__main__":
    main()
