"""The command: its JSON, its question, its tables."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.commandline import KEY_ID, ROOT, Account, Done, Target
from support.legacy import (
    snapshot,
)
from support.truncating import Cli

from kalshi_fills.warehouse.client import Row


@pytest.fixture
def filled(target: Target, cli: Cli) -> Target:
    """Today's tables with three valid fills and two rows that are none."""
    assert cli("migrate", url=target.url).code == 0
    target.read(
        "INSERT INTO DB.mm_fills (ts, fill_id, exchange_order_id, market_ticker, side, "
        "price_cents, size, source, version) SELECT now() - toIntervalDay(number), "
        "toString(number), 'o', 't', 'yes', if(number < 3, 41, 0), 1, 'live', 5 FROM numbers(5)"
    )
    return target


def _told(target: Target) -> list[Row]:
    return snapshot(lambda sql, bound=None: target.read(sql, **(bound or {})), target.database)


KEYS = {
    "command",
    "table",
    "rows_before",
    "rows_removed",
    "rows_left",
    "backup",
    "watermark",
    "backups",
}


def test_the_json_is_the_contract_s(filled: Target, cli: Cli) -> None:
    done = cli("truncate", "--garbage", "--yes", "--format", "json", url=filled.url)

    assert done.code == 0, done.err
    told = done.json
    assert told.keys() >= KEYS
    assert (told["command"], told["table"]) == ("truncate", "mm_fills")
    assert (told["rows_before"], told["rows_removed"], told["rows_left"]) == (5, 2, 3)
    assert told["watermark"] is None
    assert [backup["name"] for backup in told["backups"]] == [told["backup"]]
    assert told["backups"][0].keys() >= {"name", "rows", "bytes", "created"}
    assert told["backups"][0]["rows"] == 2
    assert told["backups"][0]["created"].endswith("Z")
    assert told["next"] == "kalshi-fills sync"
    assert told["dry_run"] is False


def test_a_dry_run_tells_all_and_writes_nothing(filled: Target, cli: Cli) -> None:
    before = _told(filled)
    for words, removed in (((), 5), (("--garbage",), 2), (("--before", "36h"), 3)):
        told = cli("truncate", *words, "--dry-run", "--format", "json", url=filled.url)
        shown = cli("truncate", *words, "--dry-run", url=filled.url, env={"COLUMNS": "80"})

        assert (told.code, shown.code) == (0, 0), told.err
        assert told.json["dry_run"] is True
        assert told.json["rows_before"] == 5
        assert told.json["rows_removed"] == removed
        assert told.json["rows_left"] == 5 - removed
        assert (told.json["backup"], told.json["backups"]) == (None, [])
        assert f"truncate {filled.database}.mm_fills" in shown.out
        assert "to stay" in shown.out
        assert "Nothing was written." in shown.out
        assert max(map(len, shown.out.splitlines())) <= 80
    assert _told(filled) == before


def test_without_a_terminal_and_without_yes_it_refuses(filled: Target, cli: Cli) -> None:
    before = _told(filled)

    done = cli("truncate", "--format", "json", url=filled.url)

    assert done.code == 2
    assert "no terminal" in done.json["error"]
    assert "--yes" in done.json["hint"]
    assert _told(filled) == before


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    "words",
    [
        ("--garbage", "--before", "7d"),
        ("--restore", "x", "--garbage"),
        ("--restore", "x", "--before", "7d"),
        ("--restore", "x", "--no-backup"),
        ("--list-backups", "--restore", "x"),
        ("--list-backups", "--garbage"),
        ("--list-backups", "--no-backup"),
        ("--before", "yesterday"),
        ("--before", ""),
        ("--before", "2999-01-01"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(cli: Cli, words: tuple[str, ...]) -> None:
    done = cli("truncate", *words, "--yes", url="chdb:///tmp/never-opened")

    assert done.code == 2
    assert done.err.count("error: ") == 1
    assert done.err.count("hint: ") == 1


class Terminal:
    """A command at a terminal of its own."""

    def __init__(self, target: Target, api_key: Account, home: Path, *words: str) -> None:
        self._main, other = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kalshi_fills", "truncate", *words],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(home),
                "XDG_STATE_HOME": str(home / "state"),
                "PYTHONPATH": str(ROOT),
                "COLUMNS": "80",
                "TERM": "dumb",
                "CLICKHOUSE_URL": target.url,
                "KALSHI_API_KEY_ID": KEY_ID,
                "KALSHI_PRIVATE_KEY_PATH": str(api_key.path),
            },
            cwd=home,
            stdin=other,
            stdout=subprocess.PIPE if "json" in words else other,
            stderr=other,
        )
        os.close(other)
        self.shown = ""

    def read_until(self, text: str) -> None:
        """Wait until it shows that, or ends."""
        deadline = time.monotonic() + 300
        while text not in self.shown and time.monotonic() < deadline:
            if select.select([self._main], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self._main, 65536).decode()
                except OSError:  # the other end is closed
                    return

    def type(self, text: str) -> Done:
        """Answer its question, and wait for the end."""
        self.read_until("to go on: ")
        os.write(self._main, text.encode())
        self.read_until("\0 which is never shown")
        out = self.process.communicate(timeout=600)[0]
        os.close(self._main)
        return Done(self.process.returncode, (out or b"").decode(), self.shown)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("words", [(), ("--format", "json")], ids=["table", "json"])
def test_it_asks_for_the_table_s_name(
    filled: Target, api_key: Account, tmp_path: Path, words: tuple[str, ...]
) -> None:
    before = _told(filled)
    for typed in ("yes\n", "\x04"):
        done = Terminal(filled, api_key, tmp_path, *words).type(typed)

        assert done.code == 1
        assert "declined" in done.err
        assert "hint:" in done.err
        assert "there now" in done.err
        if words:
            assert done.json["exit_code"] == 1
    assert _told(filled) == before

    done = Terminal(filled, api_key, tmp_path, *words).type("mm_fills\n")

    assert done.code == 0, done.err
    assert f"{filled.database}.mm_fills" in done.err
    assert "every row" in done.err
    assert filled.read("SELECT count() FROM DB.mm_fills") == [(0,)]
    if words:
        assert done.json["rows_removed"] == 5


def test_the_outcome_reads_well_in_eighty_columns(filled: Target, cli: Cli) -> None:
    gone = cli("truncate", "--yes", url=filled.url, env={"COLUMNS": "80"})
    (backup,) = [
        word.strip("`;") for word in gone.out.split() if word.startswith("mm_fills_backup_")
    ][:1]
    back = cli("truncate", "--restore", backup, url=filled.url, env={"COLUMNS": "80"})
    nothing = cli("truncate", "--before", "90d", "--yes", url=filled.url)

    assert (gone.code, back.code, nothing.code) == (0, 0, 0), gone.err + back.err + nothing.err
    assert f"`kalshi-fills truncate --restore {backup}`" in gone.out
    assert "`kalshi-fills sync`" in gone.out
    assert "Nothing to remove" in nothing.out
    for done in (gone, back):
        assert f"truncate {filled.database}.mm_fills" in done.out
        assert max(map(len, done.out.splitlines())) <= 80
    assert filled.read("SELECT count() FROM DB.mm_fills") == [(5,)]


@pytest.mark.server
@pytest.mark.parametrize("target", ["server"], indirect=True)
def test_a_second_run_is_refused_while_one_asks(
    filled: Target, cli: Cli, api_key: Account, tmp_path: Path
) -> None:
    asking = Terminal(filled, api_key, tmp_path)
    asking.read_until("to go on: ")

    done = cli("truncate", "--yes", "--format", "json", url=filled.url)

    assert done.code == 75
    assert asking.type("no\n").code == 1
    assert filled.read("SELECT count() FROM DB.mm_fills") == [(5,)]
