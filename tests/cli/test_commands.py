"""The commands, end to end: done, refused, interrupted."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.commandline import KEY_ID, ROOT, Account, Done, Target
from support.commands import assert_harmless, server_only
from support.outcomes import DAY, Cli, Serve, account_of
from support.syncing import TRUTH_COLUMNS, claim, truth

from kalshi_fills.cli.settings import build
from kalshi_fills.errors import Mistakes
from kalshi_fills.host.lock import exclusive
from kalshi_fills.warehouse.server import open_server

STAGES = (
    "n_api n_raw n_real n_valid n_gated n_inserted n_new n_corrected n_known n_duplicate n_rejected"
).split()


def stored(target: Target) -> list[tuple[Any, ...]]:
    return target.read(f"SELECT {TRUTH_COLUMNS} FROM DB.mm_fills FINAL ORDER BY ALL")


def log_lines(done: Done) -> list[dict[str, Any]]:
    """Return the log, one object a line; anything else on stderr is an error's two lines."""
    lines = [line for line in done.err.splitlines() if not re.match("(error|hint): ", line)]
    return [json.loads(line) for line in lines]


# Done


def test_migrate_then_sync_then_sync_again(
    cli: Cli, target: Target, serve: Serve, api_key: Account, now: datetime
) -> None:
    account = account_of(1_200, now, eras="calendar")
    exchange = serve(account, cutoff=now - 3 * DAY)

    migrated = cli("migrate", "--format", "json", url=target.url)

    assert migrated.code == 0, migrated.err
    told = migrated.json
    assert {"command", "changed", "steps", "kept", "columns"} <= told.keys()
    assert (told["command"], told["changed"], told["kept"]) == ("migrate", True, [])
    for step in told["steps"]:
        assert {"name", "found", "action", "rows", "seconds", "status"} <= step.keys()
    assert told["columns"][:4] == ["ts", "fill_id", "exchange_order_id", "market_ticker"]
    events = [line["event"] for line in log_lines(migrated)]
    columns = [event for event in events if event.startswith("mm_fills columns: [")]
    assert len(columns) == 1
    assert "'fill_id'" in columns[0]
    assert cli("migrate", "--format", "json", url=target.url).json["changed"] is False

    first = cli("sync", "--format", "json", url=target.url, api=exchange.url)

    assert first.code == 0, first.err
    told = first.json
    assert {
        "command", "run_id", "status", "window", "watermark", "stages", "rates", "rejected",
        "breaks", "requests", "elapsed_seconds", "settlements",
    } <= told.keys()  # fmt: skip
    assert (told["command"], told["status"]) == ("sync", "done")
    assert told["window"].keys() == {"start", "end"}
    assert told["stages"].keys() == set(STAGES)
    assert (told["stages"]["n_new"], told["breaks"], told["rejected"]) == (1_200, [], [])
    assert datetime.fromisoformat(told["watermark"]).microsecond == 0
    assert stored(target) == truth(account, now - 3 * DAY)
    stats = [line for line in log_lines(first) if line["event"] == "fill_pipeline_stats"]
    assert len(stats) == 1
    assert {name: stats[0][name] for name in STAGES} == told["stages"]
    assert stats[0]["run_id"] == told["run_id"]
    for rate in ("predicate_pass_rate", "validation_pass_rate", "gate_pass_rate"):
        assert stats[0][rate] == "100.0%"

    second = cli("sync", "--full", "--format", "json", url=target.url, api=exchange.url)

    assert (second.code, second.json["stages"]["n_inserted"]) == (0, 0)
    assert second.json["stages"]["n_known"] == 1_200
    for done in (migrated, first, second):
        assert_harmless(done, api_key)


def test_findings_cost_exit_code_3_until_they_are_accepted(
    cli: Cli, target: Target, serve: Serve, api_key: Account, now: datetime
) -> None:
    exchange = serve(account_of(40, now - DAY))
    exchange.insert_item(claim(now - 5 * DAY), now - 5 * DAY)
    exchange.insert_item({"status": "resting", "order_id": "an-order"}, now - DAY)
    cli("migrate", url=target.url)

    found = cli("sync", "--format", "json", url=target.url, api=exchange.url)

    assert found.code == 3, found.err
    assert found.json["status"] == "done"
    groups = {group["reason"]: group for group in found.json["rejected"]}
    assert {"stage", "reason", "count", "keys"} <= found.json["rejected"][0].keys()
    assert "new_key_of_tomorrow" in groups["quantity_unreadable"]["keys"]
    table = cli("sync", url=target.url, api=exchange.url)
    assert table.code == 3
    assert "quantity_unreadable" in table.out
    assert cli("sync", "--accept-rejected", url=target.url, api=exchange.url).code == 0
    assert cli("sync", "--full", url=target.url, api=exchange.url).code == 0
    assert_harmless(found, api_key)


@server_only
def test_breaks_are_listed_with_every_key(
    cli: Cli, target: Target, serve: Serve, now: datetime
) -> None:
    exchange = serve(account_of(10, now))
    cli("migrate", url=target.url)
    warehouse = open_server(target.url)
    warehouse.insert(
        f"`{target.database}`.`mm_fills`",
        ("ts", "fill_id", "exchange_order_id", "market_ticker", "side", "price_cents", "size"),
        [(now - DAY, "nobody-knows", "an-order", "KX[bold]T", "yes", 41, 10)],
    )
    warehouse.close()

    done = cli("sync", "--format", "json", url=target.url, api=exchange.url)

    assert done.code == 3
    (one,) = done.json["breaks"]
    assert one.keys() == {
        "kind", "scope", "fill_id", "order_id", "market_ticker", "field", "exchange", "table",
    }  # fmt: skip
    assert (one["kind"], one["scope"], one["fill_id"]) == ("unexpected", "fill", "nobody-knows")
    assert (one["field"], one["exchange"]) == (None, None)
    assert "KX[bold]T" in cli("sync", "--full", url=target.url, api=exchange.url).out


@server_only
def test_the_table_shows_every_stage_and_reason_in_plain_text(
    cli: Cli, target: Target, serve: Serve, api_key: Account, now: datetime
) -> None:
    exchange = serve(account_of(30, now, junk_share=0.4))
    migrated = cli("migrate", url=target.url)

    done = cli("sync", url=target.url, api=exchange.url)

    assert "kalshi-fills sync" in migrated.out
    for stage in ("api", "raw", "real", "valid", "gated", "inserted"):
        assert re.search(rf"^ *{stage} +[0-9]", done.out, re.MULTILINE)
    assert "looks_like_order" in done.out
    assert "watermark" in done.out
    assert "{" not in done.out.replace("{}", "")
    assert_harmless(done, api_key)
    assert_harmless(migrated, api_key)
    log_lines(done)


@server_only
def test_text_logs_stay_on_stderr(cli: Cli, target: Target, serve: Serve, now: datetime) -> None:
    exchange = serve(account_of(10, now))
    cli("migrate", url=target.url)

    done = cli(
        "sync", "--log-format", "text", "--format", "json", "--verbose",
        url=target.url, api=exchange.url,
    )  # fmt: skip

    assert done.json["status"] == "done"
    assert "fill_pipeline_stats" in done.err
    assert "n_api=10" in done.err
    assert "\x1b" not in done.err


def test_a_dry_run_leaves_no_trace(cli: Cli, target: Target, serve: Serve, now: datetime) -> None:
    exchange = serve(account_of(20, now, junk_share=0.3))

    planned = cli("migrate", "--dry-run", "--format", "json", url=target.url)

    assert planned.code == 0
    assert planned.json["changed"] is True
    assert "planned" in {step["status"] for step in planned.json["steps"]}
    named = "SELECT count() FROM system.databases WHERE name = {name:String}"
    assert target.read(named, name=target.database) == [(0,)]
    cli("migrate", url=target.url)
    dry = cli("sync", "--dry-run", "--format", "json", url=target.url, api=exchange.url)
    assert dry.json["stages"]["n_new"] == 20
    counted = " + ".join(
        f"(SELECT count() FROM DB.mm_fills{suffix})" for suffix in ("", "_rejected", "_runs")
    )
    assert target.read(f"SELECT {counted}") == [(0,)]


@server_only
def test_another_table_name_names_all_tables(
    cli: Cli, target: Target, serve: Serve, now: datetime
) -> None:
    exchange = serve(account_of(10, now))

    assert cli("migrate", "--table", "other", url=target.url).code == 0
    assert cli("--table", "other", "sync", url=target.url, api=exchange.url).code == 0

    found = target.read(
        "SELECT name FROM system.tables WHERE database = {name:String} ORDER BY name",
        name=target.database,
    )
    suffixes = ["", "_by_day", "_by_market", "_current", "_migrations", "_rejected", "_runs"]
    suffixes.append("_settlements")
    assert [row[0] for row in found] == [f"other{suffix}" for suffix in suffixes]
    assert target.read("SELECT count() FROM DB.other_current") == [(10,)]


# Where options come from


@server_only
def test_shared_options_stand_before_or_after_the_command(cli: Cli, target: Target) -> None:
    before = cli("--format", "json", "--clickhouse", target.url, "migrate")
    after = cli("migrate", "--clickhouse", target.url, "--format", "json")
    both = cli("--format", "table", "migrate", "--clickhouse", target.url, "--format", "json")

    assert [done.code for done in (before, after, both)] == [0, 0, 0]
    assert before.json["changed"] is True
    assert after.json["changed"] is False
    assert both.json["changed"] is False


@server_only
def test_a_dotenv_file_in_the_working_folder_is_read(
    cli: Cli,
    target: Target,
    serve: Serve,
    api_key: Account,
    tmp_path: Path,
    now: datetime,
) -> None:
    exchange = serve(account_of(10, now))
    (tmp_path / ".env").write_text(
        f"CLICKHOUSE_URL={target.url}\nKALSHI_API_URL={exchange.url}\n"
        f"KALSHI_API_KEY_ID={KEY_ID}\nKALSHI_PRIVATE_KEY_PATH={api_key.path}\n"
        "KALSHI_FILLS_FORMAT=json\n"
    )
    bare = {"KALSHI_API_KEY_ID": "", "KALSHI_PRIVATE_KEY_PATH": ""}

    assert cli("migrate", env=bare).json["changed"] is True
    done = cli("sync", env=bare)

    assert (done.code, done.json["stages"]["n_new"]) == (0, 10)
    assert_harmless(done, api_key)
    overridden = cli("sync", "--format", "table", env=bare | {"KALSHI_FILLS_TABLE": "elsewhere"})
    assert overridden.code == 5
    assert "elsewhere" in overridden.err
    assert overridden.out == ""


@server_only
def test_an_env_file_may_be_named(
    cli: Cli, target: Target, tmp_path: Path, failed: Callable[..., str]
) -> None:
    (tmp_path / "other.env").write_text(f"CLICKHOUSE_URL={target.url}\n")

    assert cli("migrate", "--env-file", "other.env").code == 0
    assert "missing.env" in failed(cli("migrate", "--env-file", "missing.env"), 2)


@server_only
def test_the_key_may_be_the_variable_itself(
    cli: Cli, target: Target, serve: Serve, api_key: Account, now: datetime
) -> None:
    exchange = serve(account_of(10, now))
    cli("migrate", url=target.url)
    pem = api_key.path.read_text()

    for text in (pem, pem.replace("\n", "\\n")):
        done = cli(
            "sync",
            "--verbose",
            url=target.url,
            api=exchange.url,
            env={"KALSHI_PRIVATE_KEY": text, "KALSHI_PRIVATE_KEY_PATH": ""},
        )
        assert done.code == 0, done.err
        assert_harmless(done, api_key)


def test_without_an_url_the_embedded_engine_is_in_the_users_data_folder(
    cli: Cli, tmp_path: Path
) -> None:
    pytest.importorskip("chdb", reason="the embedded engine is not installed")

    done = cli("migrate", "--format", "json")

    assert done.code == 0, done.err
    assert (tmp_path / ".local" / "share" / "kalshi-fills" / "chdb").is_dir()


# One run at a time, and runs that are ended


def test_a_second_run_ends_with_75(
    cli: Cli,
    migrated: Target,
    serve: Serve,
    tmp_path: Path,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
    failed: Callable[..., str],
) -> None:
    exchange = serve(account_of(5, now))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    settings = build({"clickhouse": migrated.url}, {}, Mistakes(), folder=tmp_path)

    with exclusive(settings.clickhouse.identity(), settings.tables.name()):
        second = cli("sync", "--format", "json", url=migrated.url, api=exchange.url)
        migrate = cli("migrate", "--format", "json", url=migrated.url)
        other = cli("migrate", "--table", "other", url=migrated.url)

    assert "another run" in failed(second, 75, "sync")
    failed(migrate, 75, "migrate")
    assert other.code == 0
    assert sum(exchange.requests.values()) == 0
    assert cli("sync", url=migrated.url, api=exchange.url).code == 0


@pytest.fixture
def start(api_key: Account, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start `kalshi-fills` as `cli` does, without waiting for it."""

    def run(*words: str, url: str, api: str) -> subprocess.Popen[str]:
        variables = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "XDG_STATE_HOME": str(tmp_path / "state"),
            "PYTHONPATH": str(ROOT),
            "KALSHI_API_KEY_ID": KEY_ID,
            "KALSHI_PRIVATE_KEY_PATH": str(api_key.path),
            "CLICKHOUSE_URL": url,
            "KALSHI_API_URL": api,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "kalshi_fills", *words],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )

    return run


def wait_for(what: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_asked_to_end_ends_with_130_and_the_next_one_completes(
    cli: Cli,
    start: Callable[..., subprocess.Popen[str]],
    migrated: Target,
    serve: Serve,
    now: datetime,
    failed: Callable[..., str],
    number: signal.Signals,
) -> None:
    account = account_of(2_300, now - timedelta(hours=1))
    slow = serve(account, latency_seconds=0.2, largest_page=50)

    with start("sync", "--format", "json", url=migrated.url, api=slow.url) as process:
        wait_for(lambda: slow.requests["/portfolio/fills"] >= 2)
        process.send_signal(number)
        out, err = process.communicate(timeout=300)

    failed(Done(process.returncode, out, err), 130, "sync")
    assert slow.requests["/portfolio/fills"] < 40
    ((status, watermark, error),) = migrated.read(
        "SELECT status, watermark, error FROM DB.mm_fills_runs FINAL"
    )
    assert (status, watermark) == ("failed", None)
    assert ("interrupted;" if number is signal.SIGINT else "ended by SIGTERM;") in error
    fast = serve(account)
    assert cli("sync", url=migrated.url, api=fast.url).code == 0
    assert stored(migrated) == truth(account)


@pytest.mark.torture  # sync/test_killed.py has the short version
def test_kill_9_at_any_moment_loses_and_doubles_nothing(
    cli: Cli,
    start: Callable[..., subprocess.Popen[str]],
    migrated: Target,
    serve: Serve,
    now: datetime,
) -> None:
    rng = random.Random(9)
    account = account_of(3_000, now - timedelta(hours=1))
    exchange = serve(account)
    killed = 0
    for moment in ("start", "limits", "fills", "end", "end", "end"):
        asked, served = sum(exchange.requests.values()), exchange.served_items
        with start("sync", "--full", url=migrated.url, api=exchange.url) as process:
            match moment:
                case "start":
                    time.sleep(rng.uniform(0.1, 0.4))
                case "limits":
                    wait_for(lambda start=asked: sum(exchange.requests.values()) > start)
                case "fills":
                    wait_for(lambda start=served: exchange.served_items > start)
                case "end":  # everything was read, now it is written
                    wait_for(lambda start=served: exchange.served_items >= start + 3_000)
                    time.sleep(rng.uniform(0, 0.25))
            process.kill()
            process.communicate()
        killed += process.returncode == -signal.SIGKILL

    done = cli("sync", "--full", "--format", "json", url=migrated.url, api=exchange.url)

    assert killed > 0
    assert done.code == 0, done.err
    assert stored(migrated) == truth(account)
    runs = migrated.read(
        "SELECT status, count() FROM DB.mm_fills_runs FINAL GROUP BY status ORDER BY status"
    )
    assert "running" not in dict(runs)
    again = cli("sync", "--full", "--format", "json", url=migrated.url, api=exchange.url)
    assert again.json["stages"]["n_inserted"] == 0
