"""The progress bar of sync: on a terminal only, and never telling what is not known."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.progress import Progress
from support.commandline import KEY_ID, ROOT, Account, Done

from kalshi_fills.exchange.decode import HISTORICAL, LIVE, Page
from kalshi_fills.exchange.endpoints import Exchange
from kalshi_fills.exchange.tiers import fetch_fills
from kalshi_fills.pipeline.window import Window
from kalshi_fills.practice.account import generate_account
from kalshi_fills.practice.exchange import PracticeExchange
from kalshi_fills.report.progress import sync_progress
from kalshi_fills.sync.report import SyncReport

Cli = Callable[..., Done]
Serve = Callable[..., PracticeExchange]

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class EvenTiers(Exchange):
    """Both tiers of an account with a fill every hour, fifty a page, newest first."""

    def __init__(
        self, first: datetime, cutoff: datetime | None, seconds_a_page: float = 0.0
    ) -> None:
        super().__init__("http://127.0.0.1:1", None)
        self._first = first
        self._cutoff = cutoff
        self._seconds_a_page = seconds_a_page

    def cutoff(self, attempts: int | None = None) -> datetime | None:
        return self._cutoff

    def has_history(self) -> bool:
        return False

    def has_use_for(self, walks: int, path: str) -> bool:
        return True

    def fills_pages(self, tier: str, start: int | None, end: int) -> Iterator[Page]:
        low, high = self._first, NOW
        if self._cutoff is not None:
            low, high = (self._cutoff, NOW) if tier == LIVE else (self._first, self._cutoff)
        moment = high - timedelta(minutes=1)
        items: list[str] = []
        while True:
            ended = moment < low or (start is not None and moment.timestamp() < start)
            if ended or len(items) == 50:
                time.sleep(self._seconds_a_page)
                yield Page(tier, items)
                items = []
            if ended:
                return
            if moment.timestamp() <= end:
                stamp = moment.isoformat().replace("+00:00", "Z")
                items.append(f'{{"created_time":"{stamp}"}}')
            moment -= timedelta(hours=1)


def shares(first: datetime, cutoff: datetime | None, start: datetime | None) -> list[Page]:
    return list(fetch_fills(EvenTiers(first, cutoff), Window(start, NOW), workers=1))


def test_the_share_of_a_window_is_that_of_its_fills_where_they_are_spread_evenly() -> None:
    pages = shares(NOW - 100 * DAY, NOW - 40 * DAY, NOW - 90 * DAY)

    whole = sum(len(page.items) for page in pages)
    assert {page.tier for page in pages} == {LIVE, HISTORICAL}
    read = 0
    for page in pages:
        read += len(page.items)
        assert page.share == pytest.approx(read / whole, abs=0.03)


def test_one_worker_on_a_first_pass_knows_no_share() -> None:
    pages = shares(NOW - 100 * DAY, NOW - 40 * DAY, None)

    assert {page.share for page in pages} == {None}


def test_a_first_pass_knows_its_share_once_the_oldest_fill_is_found() -> None:
    tiers = EvenTiers(NOW - 200 * DAY, NOW - 20 * DAY, seconds_a_page=0.04)

    read, told = 0, []
    for page in fetch_fills(tiers, Window(None, NOW), workers=6):
        read += len(page.items)
        if page.share is not None:
            told.append(page.share)
            # What other workers have read by then is on its way.
            assert read / 4_800 - 0.03 < page.share < read / 4_800 + 0.3

    assert len(told) > 10
    assert read >= 4_800


def test_without_a_cutoff_there_is_no_telling_what_the_archive_holds() -> None:
    pages = shares(NOW - 100 * DAY, None, NOW - 90 * DAY)

    assert {page.share for page in pages} == {None}


def on_a_terminal(
    words: list[str], url: str, api: str, api_key: Account, folder: Path
) -> tuple[str, str]:
    """Run a command whose stderr is a terminal; give what it wrote there, and its stdout."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "kalshi_fills", *words],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "120",
            "TERM": "xterm-256color",
            "KALSHI_API_KEY_ID": KEY_ID,
            "KALSHI_PRIVATE_KEY_PATH": str(api_key.path),
            "CLICKHOUSE_URL": url,
            "KALSHI_API_URL": api,
        },
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    ) as process:
        os.close(theirs)
        said = b""
        while True:
            try:
                block = os.read(ours, 1 << 16)
            except OSError:  # the other end is closed
                break
            if not block:
                break
            said += block
        os.close(ours)
        assert process.stdout is not None
        out = process.stdout.read()
    assert process.returncode == 0, said
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode()), out


@pytest.fixture
def slow(cli: Cli, serve: Serve, tmp_path: Path, now: datetime) -> tuple[str, str]:
    """A migrated folder of the embedded engine, and an exchange that takes its time."""
    pytest.importorskip("chdb", reason="the embedded engine is not installed")
    url = f"chdb://{tmp_path}/chdb"
    assert cli("migrate", url=url).code == 0
    account = generate_account(3, 4_000, start=now - 20 * DAY, end=now - timedelta(hours=1))
    exchange = serve(account, cutoff=now - 10 * DAY, latency_seconds=0.2, largest_page=100)
    return url, exchange.url


def test_on_a_terminal_a_bar_shows_fills_pages_rate_and_time_left(
    slow: tuple[str, str], api_key: Account, tmp_path: Path
) -> None:
    said, out = on_a_terminal(["sync", "--since", "20d"], *slow, api_key, tmp_path)

    assert re.search(r"reading fills .*[0-9,]+ fills  \d+ pages  [0-9,]+ fills/s", said)
    assert re.search(r"about 0:\d\d:\d\d left", said)
    assert "fill_pipeline_stats" not in said
    assert "api" in out


def test_while_nothing_is_known_the_bar_has_no_total(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Progress] = []

    class Watched(Progress):
        def __init__(self, *columns: Any, **options: Any) -> None:
            super().__init__(*columns, **options)
            made.append(self)

    monkeypatch.setattr("rich.progress.Progress", Watched)
    monkeypatch.setenv("FORCE_COLOR", "1")  # taken for a terminal
    pass_ = SyncReport(uuid.uuid4())
    with sync_progress() as update:
        update(pass_)
        assert made[0].tasks[0].total is None
        pass_.share_read = 0.25
        update(pass_)
        assert (made[0].tasks[0].total, made[0].tasks[0].completed) == (1.0, 0.25)


def test_without_a_terminal_there_is_no_bar(slow: tuple[str, str], cli: Cli) -> None:
    url, api = slow
    done = cli("sync", "--since", "20d", "--log-format", "text", url=url, api=api)

    assert done.code == 0
    assert "fills/s" not in done.err
    assert "\x1b" not in done.err + done.out
