"""The incident from start to end: as the demo plays it, and the same story on a real server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.commandline import ROOT, Done, Target

from kalshi_fills.practice.account import fills_of_last_month, incident_rows, the_incident
from kalshi_fills.practice.demo import LEGACY_TABLE, play
from kalshi_fills.practice.exchange import PracticeExchange
from kalshi_fills.warehouse.server import open_server

LEGACY_COLUMNS = """ts engine_instance_id engine_version market_ticker exchange_order_id
    client_order_id side price price_cents size fee decision_id raw_json""".split()


def normalised(text: str) -> list[str]:
    """Return the lines of an output without what differs from run to run."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "ID", text)
    text = re.sub(r"\d[\d,.:TZe-]*", "0", text)
    text = re.sub(r"[A-Z]{3,}-0\w*", "TICKER", text)
    lines = (" ".join(line.split()) for line in text.splitlines())
    return [line for line in lines if line]


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the demo prints, once for all tests of it."""
    pytest.importorskip("chdb", reason="the embedded engine is not installed")
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [sys.executable, "-m", "kalshi_fills.practice.demo"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_demo_plays_the_whole_story_in_its_order(told: str) -> None:
    month_ago = f"{datetime.now(UTC) - timedelta(days=30):%Y-%m-%d}"
    commands = re.findall(r"^\$ kalshi-fills (.+)$", told, re.MULTILINE)
    assert commands == [
        "diagnose",
        "migrate",
        "truncate --garbage --yes",
        "sync",
        "diagnose",
        "sync",
        "sync --since 40d",
        "diagnose",
        f"sync --since {month_ago}",
        "diagnose",
    ]
    before, after = (part.split("$ kalshi-fills")[0] for part in told.split("diagnose\n")[1:3])
    holed, repaired = (part.split("$ kalshi-fills")[0] for part in told.split("diagnose\n")[3:5])
    assert before.lstrip().startswith("FAIL  kalshi.mm_fills: 5 of 6 checks fail")
    assert "exchange 5, table 4,774" in before
    assert "price 0 in 4,416 of 4,774 rows (92.5%)" in before
    for cause in (
        "schema_never_migrated",
        "non_fills_written_as_fills",
        "same_fills_inserted_again",
        "event_time_written_as_now",
    ):
        assert f": {cause}" in before
    assert after.lstrip().startswith("PASS  kalshi.mm_fills: table and exchange agree")
    assert "fail" not in after.split("\n\n")[0]
    assert "inserted       0   5 known" in told.split("$ kalshi-fills sync")[2]
    assert holed.lstrip().startswith("FAIL  kalshi.mm_fills: 1 of 6 checks fails")
    assert "settled_markets_match   fail" in holed
    assert "yes_count_fp: exchange 200.00, table 120.00" in holed
    assert "root cause: fills_missing" in holed
    assert f"Next: kalshi-fills sync --since {month_ago}" in holed
    assert repaired.lstrip().startswith("PASS  kalshi.mm_fills: table and exchange agree")
    assert "1 settled market agrees" in repaired


def test_the_documented_transcript_is_what_the_demo_prints(told: str) -> None:
    page = (ROOT / "docs" / "incident.md").read_text(encoding="utf-8")
    shown = normalised("".join(re.findall(r"^```\n(.*?)^```", page, re.MULTILINE | re.DOTALL)))
    assert len(shown) > 50
    printed = iter(normalised(told))
    for line in shown:
        if line != "...":
            assert line in printed, f"the demo does not print, at its place: {line}"


class ServerEngine:
    """The broken engine, at work on a server."""

    def __init__(self, target: Target, now: datetime) -> None:
        self._target = target
        self._rows = incident_rows(now)

    def make_its_table(self) -> None:
        self._run(f"CREATE DATABASE IF NOT EXISTS {self._target.database}")
        self._run(LEGACY_TABLE.replace("kalshi.", f"{self._target.database}."))
        self._insert(self._rows)

    def poll_again(self) -> None:
        self._insert(self._rows[-240:])

    def lose(self, fill_id: str) -> None:
        self._run(
            f"ALTER TABLE {self._target.database}.mm_fills DELETE WHERE fill_id = '{fill_id}' "
            "SETTINGS mutations_sync = 2"
        )

    def _run(self, sql: str) -> None:
        warehouse = open_server(self._target.url)
        warehouse.command(sql)
        warehouse.close()

    def _insert(self, rows: list[dict[str, Any]]) -> None:
        warehouse = open_server(self._target.url)
        warehouse.insert(
            f"{self._target.database}.mm_fills",
            LEGACY_COLUMNS,
            [tuple(row.values()) for row in rows],
        )
        warehouse.close()


class Recorder:
    """Runs the story's commands as processes and keeps what they print as JSON."""

    def __init__(self, cli: Callable[..., Done], target: Target, api: str) -> None:
        self._cli, self._target, self._api = cli, target, api
        self.results: list[dict[str, Any]] = []

    def narrate(self, text: str) -> None:
        assert text.strip()

    def run(self, *words: str, expected_code: int = 0) -> None:
        done = self._cli(*words, "--format", "json", url=self._target.url, api=self._api)
        assert done.code == expected_code, done.err
        self.results.append(done.json)


@pytest.mark.torture
@pytest.mark.parametrize(
    "target", [pytest.param("server", marks=pytest.mark.server)], indirect=True
)
def test_the_same_story_on_a_server(
    cli: Callable[..., Done],
    target: Target,
    serve: Callable[..., PracticeExchange],
    now: datetime,
) -> None:
    account = the_incident(now)
    exchange = serve(account)
    stage = Recorder(cli, target, exchange.url)

    play(stage, exchange, ServerEngine(target, now))

    before, migrated, truncated, first, after, second, _, holed, _, repaired = stage.results
    assert {one["scope"] for one in holed["breaks"]} == {"settlement"}
    assert (repaired["verdict"], repaired["compared"]["settled_markets"]) == ("pass", 1)
    assert (before["verdict"], after["verdict"]) == ("fail", "pass")
    assert migrated["changed"] is True
    assert truncated["rows_before"] == truncated["rows_removed"] + truncated["rows_left"]
    assert truncated["rows_left"] == 5
    assert target.read(f"SELECT count() FROM DB.{truncated['backup']}") == [
        (truncated["rows_removed"],)
    ]
    assert first["stages"]["n_api"] == 5
    assert second["stages"]["n_inserted"] == 0
    assert {row[0] for row in target.read("SELECT fill_id FROM DB.mm_fills FINAL")} == {
        fill.fill_id for fill in [*account.fills, *fills_of_last_month(now)]
    }
    (kept,) = migrated["kept"]
    assert target.read(f"SELECT count() FROM DB.{kept}") == [(4774,)]


def test_the_folder_of_the_demo_stays_out_of_the_checkout(told: str) -> None:
    assert ".demo" in (ROOT / ".gitignore").read_text(encoding="utf-8")
    assert str(Path.home()) not in told
