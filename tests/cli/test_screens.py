"""What a person sees on a terminal: no log lines, nothing twice, no table of zeros."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from support.commandline import KEY_ID, ROOT, Account, Target
from support.outcomes import Cli, Serve, account_of
from support.syncing import claim

Screen = Callable[..., tuple[int, str]]


@pytest.fixture
def terminal(api_key: Account, tmp_path: Path) -> Screen:
    """Run a command on a terminal; return its exit code and all that it wrote there."""

    def run(*words: str, **variables: str) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        given = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "XDG_STATE_HOME": str(tmp_path / "state"),
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "100",
            "TERM": "xterm",
            "KALSHI_API_KEY_ID": KEY_ID,
            "KALSHI_PRIVATE_KEY_PATH": str(api_key.path),
        }
        with subprocess.Popen(
            [sys.executable, "-m", "kalshi_fills", *words],
            env=given | variables,
            cwd=tmp_path,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        ) as process:
            os.close(theirs)
            shown = b""
            while True:
                try:
                    block = os.read(ours, 1 << 16)
                except OSError:  # the other end is closed
                    break
                if not block:
                    break
                shown += block
            os.close(ours)
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).replace("\r\n", "\n")
        return process.returncode, text

    return run


@pytest.fixture
def screen(terminal: Screen) -> Screen:
    """Run a command on a terminal; return its exit code and what the terminal shows in the end."""

    def run(*words: str, **variables: str) -> tuple[int, str]:
        code, text = terminal(*words, **variables)
        # What a spinner or a bar wrote over stays in the stream, and is gone from the screen.
        return code, "\n".join(line.rpartition("\r")[2] for line in text.split("\n"))

    return run


def test_a_first_day_on_a_terminal(
    screen: Screen, serve: Serve, target: Target, now: datetime, tmp_path: Path, api_key: Account
) -> None:
    exchange = serve(account_of(20, now))
    given = {"CLICKHOUSE_URL": target.url, "KALSHI_API_URL": exchange.url}

    code, shown = screen("migrate", **given)
    assert code == 0
    assert shown.count("0002_create_fills") == 1
    assert "migrate_step" not in shown
    assert "Next: `kalshi-fills sync`" in shown

    code, shown = screen("sync", "--dry-run", **given)
    assert code == 0
    assert "(dry run: nothing was written)" in shown
    assert "watermark none" in shown
    assert "(a run would move it to " in shown
    assert "fill_pipeline_stats" not in shown

    code, shown = screen("sync", KALSHI_FILLS_LOG_FORMAT="json", **given)
    assert code == 0
    assert "{" not in shown

    code, shown = screen("sync", "--full", "--verbose", **given)
    assert "fill_pipeline_stats" in shown
    assert "inserted" in shown

    # A failed pass: how far it came, and its error; a warning stays one.
    key = tmp_path / "key.pem"
    key.write_bytes(api_key.path.read_bytes())
    key.chmod(0o644)
    given["KALSHI_PRIVATE_KEY_PATH"] = str(key)
    code, shown = screen("sync", KALSHI_API_KEY_ID="unknown", **given)
    assert code == 4
    assert "warning: the private key" in shown
    assert "failed at the step `fetch` after 0 items, 0 fills written" in shown
    assert "100.0%" not in shown
    assert shown.count("From the account's first fill on") == 1
    assert "error: the exchange does not know this key id" in shown

    code, shown = screen("status", **given)
    assert code == 0
    assert "a later one failed" in shown


@pytest.fixture
def silent_server() -> Iterator[str]:
    """The URL of a server that takes connections and hangs up two seconds later."""
    listener = socket.create_server(("127.0.0.1", 0))

    def hang_up() -> None:
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                connection, _ = listener.accept()
                time.sleep(2)
                connection.close()

    threading.Thread(target=hang_up, daemon=True).start()
    yield f"clickhouse://127.0.0.1:{listener.getsockname()[1]}/kalshi"
    listener.close()


@pytest.mark.parametrize(
    "words",
    [
        ["migrate"],
        ["sync"],
        ["diagnose", "--offline"],
        ["diagnose", "--query", "schema"],
        ["status"],
        ["query", "SELECT 1"],
        ["truncate"],
        ["truncate", "--dry-run"],
        ["truncate", "--list-backups"],
    ],
    ids=" ".join,
)
def test_a_command_that_connects_for_longer_than_a_second_shows_it(
    words: list[str], terminal: Screen, silent_server: str
) -> None:
    code, shown = terminal(*words, CLICKHOUSE_URL=silent_server)
    assert code == 5, shown
    assert "connecting" in shown
    last = shown.strip().split("\n")[-2:]
    assert [line.rpartition("\r")[2][:6] for line in last] == ["error:", "hint: "]


def test_a_diagnosis_begins_with_what_to_do(
    cli: Cli, serve: Serve, migrated: Target, now: datetime
) -> None:
    exchange = serve(account_of(60, now))
    given = {"url": migrated.url, "api": exchange.url}
    hour_ago = now - timedelta(hours=1)
    exchange.insert_item(claim(hour_ago), hour_ago)
    done = cli("diagnose", "--since", "7d", **given)
    assert done.code == 3, done.err
    lines = done.out.splitlines()
    where = {
        start: next(number for number, line in enumerate(lines) if line.startswith(start))
        for start in ("FAIL", "root cause", "Next: ", "checks", "60 breaks", "57 more")
    }
    assert list(where.values()) == sorted(where.values())
    assert lines[where["57 more"]] == "57 more with --breaks all."
    assert not [line for line in lines if line.endswith(" ")]

    everything = cli("diagnose", "--since", "7d", "--breaks", "all", **given)
    assert everything.out.count("missing") >= 60
    assert "more with" not in everything.out


def test_a_query_of_more_columns_than_have_room_shows_a_value_a_line(
    screen: Screen, target: Target
) -> None:
    sql = "SELECT number AS n, 'KXBTCD-26NOV2406-T99' AS market, 0.5 AS price FROM numbers(2)"
    given = {"CLICKHOUSE_URL": target.url}
    assert screen("migrate", **given)[0] == 0

    code, shown = screen("query", sql, COLUMNS="60", **given)
    assert code == 0
    assert "row 1" not in shown
    assert re.search(r"^ n   market +price ", shown, re.MULTILINE)

    code, shown = screen("query", sql, COLUMNS="30", **given)
    assert code == 0
    lines = [line.strip() for line in shown.splitlines() if line.strip()]
    assert lines == [
        "row 1", "n       0", "market  KXBTCD-26NOV2406-T99", "price   0.5",
        "row 2", "n       1", "market  KXBTCD-26NOV2406-T99", "price   0.5",
        "2 rows",
    ]  # fmt: skip


def test_what_is_wrong_with_an_address_is_told(cli: Cli) -> None:
    for url, sentence, hint in (
        ("127.0.0.1:9000", "'127.0.0.1:9000' has no scheme", "clickhouse://127.0.0.1:9000"),
        ("localhost", "has no scheme", "clickhouse://localhost"),
        ("clickhouse://127.0.0.1:1", "was refused", "native port"),
        ("clickhouse://nowhere.invalid", "name of the host is not known", "check the host"),
    ):
        done = cli("migrate", url=url)
        assert sentence in done.err
        assert hint in done.err.splitlines()[-1]


def test_a_lost_key_has_to_be_made_anew(cli: Cli) -> None:
    done = cli("sync", env={"KALSHI_PRIVATE_KEY_PATH": "/missing.pem"}, url="clickhouse://h")
    assert "make a new one on Kalshi's API keys page" in done.err
