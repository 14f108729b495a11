"""Output that cannot be written changes nothing of a run; odd surroundings break none."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
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
from support.commands import server_only
from support.syncing import TRUTH_COLUMNS, truth

from kalshi_fills.practice.account import generate_account
from kalshi_fills.practice.exchange import PracticeExchange

Serve = Callable[..., PracticeExchange]
Start = Callable[..., "subprocess.Popen[str]"]

CLOSED = {
    "no reader": "{} | true",
    "a reader that leaves": "{} | head -c 1 >/dev/null",
    "a full disk": "{} >/dev/full",
    "stdout closed": "{} >&-",
    "stderr closed": "{} 2>&-",
    "both closed": "{} >&- 2>&-",
    "all closed": "{} <&- >&- 2>&-",
    "stderr full": "{} 2>/dev/full",
    "both full": "{} >/dev/full 2>&1",
    "stdin closed": "{} <&- >/dev/null",
    "errors to nobody": "{} 2>&1 >/dev/null | true",
}
CLOSED_CODES = {0, 141}


@pytest.fixture
def environment(api_key: Account, tmp_path: Path) -> dict[str, str]:
    """The variables of a process that is pointed nowhere yet."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "PYTHONPATH": str(ROOT),
        "KALSHI_API_KEY_ID": KEY_ID,
        "KALSHI_PRIVATE_KEY_PATH": str(api_key.path),
        "CLICKHOUSE_URL": "clickhouse://127.0.0.1:1/kalshi",
    }


@pytest.fixture
def shell(environment: dict[str, str], tmp_path: Path) -> Callable[..., Done]:
    """Run a line of shell in which {} is the command; give the command's own exit code."""

    def run(line: str, words: str, **variables: str) -> Done:
        command = f"{{ {sys.executable} -m kalshi_fills {words}; echo $? >code; }}"
        done = subprocess.run(
            ["/bin/bash", "-c", line.replace("{}", command)],
            env=environment | variables,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=600,
            stdin=subprocess.DEVNULL,
        )
        return Done(int((tmp_path / "code").read_text()), done.stdout, done.stderr)

    return run


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Start:
    """Start a command without waiting for it."""

    def run(*words: str, before: str = "", **options: Any) -> subprocess.Popen[str]:
        variables = environment | options.pop("env", {})
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        return subprocess.Popen(
            [*before.split(), sys.executable, "-m", "kalshi_fills", *words],
            env=variables,
            text=True,
            errors="replace",
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            **options,
        )

    return run


def assert_calm(said: str) -> None:
    for bad in ("Traceback", "a bug", "Exception ignored", "Logging error"):
        assert bad not in said


def migrate(start: Start, variables: dict[str, str]) -> None:
    with start("migrate", env=variables) as process:
        _, err = process.communicate()
    assert process.returncode == 0, err


# Streams that take nothing


@pytest.mark.sampled(45)
@pytest.mark.parametrize("form", ["table", "json"])
@pytest.mark.parametrize("how", CLOSED)
def test_a_run_that_cannot_print_ends_as_it_would_and_is_recorded(
    how: str, form: str, shell: Callable[..., Done], target: Target, serve: Serve, now: datetime
) -> None:
    exchange = serve(generate_account(4, 300, start=now - timedelta(days=3), end=now))
    variables = {"CLICKHOUSE_URL": target.url, "KALSHI_API_URL": exchange.url}
    assert shell("{}", "migrate", **variables).code == 0
    done = shell(CLOSED[how], f"sync --format {form} --log-format text", **variables)
    assert done.code in CLOSED_CODES, done.err
    assert_calm(done.err)
    assert target.read("SELECT status FROM DB.mm_fills_runs FINAL") == [("done",)]
    assert target.read("SELECT count() FROM DB.mm_fills FINAL") == [(300,)]


@pytest.mark.sampled(19)
@pytest.mark.parametrize("how", CLOSED)
@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("--version", 0),
        ("--help", 0),
        ("sync --help", 0),
        ("sync --no-such-option", 2),
        ("migrate --table 'a b' --format json", 2),
        ("migrate --format json", 5),
        ("truncate", 2),
        ("", 2),
    ],
)
def test_help_and_failures_keep_their_exit_code(
    how: str, words: str, code: int, shell: Callable[..., Done]
) -> None:
    done = shell(CLOSED[how], words)
    assert done.code in {code, 141} | ({0} if not words else set())
    assert_calm(done.err)


def test_a_full_disk_is_told_where_it_can_be(shell: Callable[..., Done]) -> None:
    done = shell("{} >/dev/full", "--version")
    assert (done.code, done.err) == (0, "warning: the output is cut off: no space left on device\n")


def test_a_closed_stream_is_not_taken_for_the_next_file(
    shell: Callable[..., Done], target: Target, tmp_path: Path
) -> None:
    """With stdout closed, the next file that is opened would be number 1."""
    for how in ("stdout closed", "stderr closed", "all closed"):
        shell(CLOSED[how], "migrate", CLICKHOUSE_URL=target.url)
    for file in (tmp_path / "state").rglob("*.lock"):
        assert file.read_bytes() == b""
    for file in (tmp_path / "state").rglob("*.pid"):
        assert re.fullmatch(r"\d+\n", file.read_text())


def test_a_pipe_that_does_not_wait_gets_everything(start: Start) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETFL, fcntl.fcntl(writer, fcntl.F_GETFL) | os.O_NONBLOCK)
    with contextlib.suppress(OSError):
        fcntl.fcntl(writer, 1031, 4096)  # F_SETPIPE_SZ: smaller than what is printed
    with start("sync", "--help", stdout=writer, env={"COLUMNS": "200"}) as process:
        os.close(writer)
        time.sleep(2)
        got = b""
        while block := os.read(reader, 1000):
            got += block
        process.communicate()
    os.close(reader)
    assert process.returncode == 0
    assert b"130 interrupted" in b" ".join(got.split())


def test_a_reader_that_left_does_not_stop_a_pass_on_its_way(
    start: Start, target: Target, serve: Serve, now: datetime
) -> None:
    exchange = serve(
        generate_account(4, 2_000, start=now - timedelta(days=3), end=now), latency_seconds=0.1
    )
    variables = {"CLICKHOUSE_URL": target.url, "KALSHI_API_URL": exchange.url}
    migrate(start, variables)
    with start("sync", "--verbose", env=variables) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stderr.close()
        process.wait()
    assert process.returncode in CLOSED_CODES
    assert target.read("SELECT status FROM DB.mm_fills_runs FINAL") == [("done",)]


# Signals


def wait_for(what: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def slow(target: Target, serve: Serve, now: datetime, start: Start) -> tuple[Any, dict[str, str]]:
    account = generate_account(
        5, 3_000, start=now - timedelta(days=3), end=now - timedelta(hours=1), eras="current"
    )
    exchange = serve(account, latency_seconds=0.5, largest_page=50)
    variables = {"CLICKHOUSE_URL": target.url, "KALSHI_API_URL": exchange.url}
    migrate(start, variables)
    return exchange, variables


@pytest.mark.sampled(2)
def test_a_terminal_that_is_closed_ends_a_run_with_130(
    start: Start, slow: tuple[Any, dict[str, str]], target: Target
) -> None:
    exchange, variables = slow
    with start("sync", "--format", "json", env=variables) as process:
        wait_for(lambda: exchange.requests["/portfolio/fills"] >= 2)
        process.send_signal(signal.SIGHUP)
        out, err = process.communicate(timeout=600)
    assert process.returncode == 130
    assert json.loads(out)["exit_code"] == 130
    assert "SIGHUP" in err
    assert_calm(err)
    runs = "SELECT status, error != '' FROM DB.mm_fills_runs FINAL"
    assert target.read(runs) == [("failed", 1)]


@pytest.mark.torture
def test_a_run_under_nohup_goes_on(
    start: Start, serve: Serve, target: Target, now: datetime
) -> None:
    exchange = serve(
        generate_account(5, 500, start=now - timedelta(days=3), end=now), latency_seconds=0.5
    )
    variables = {"CLICKHOUSE_URL": target.url, "KALSHI_API_URL": exchange.url}
    migrate(start, variables)
    with start("sync", "--format", "json", before="nohup", env=variables) as process:
        wait_for(lambda: sum(exchange.requests.values()) >= 1)
        process.send_signal(signal.SIGHUP)
        out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert json.loads(out)["stages"]["n_new"] == 500


@pytest.mark.sampled(33)
@pytest.mark.parametrize("pause", [0.0, 0.05, 0.3, 0.8])
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_with_130_and_no_traceback(
    first: signal.Signals,
    second: signal.Signals,
    pause: float,
    start: Start,
    slow: tuple[Any, dict[str, str]],
) -> None:
    exchange, variables = slow
    with start("sync", env=variables) as process:
        wait_for(lambda: exchange.requests["/portfolio/fills"] >= 2)
        process.send_signal(first)
        time.sleep(pause)
        process.send_signal(second)
        _, err = process.communicate(timeout=600)
    assert process.returncode == 130
    assert_calm(err)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("every", [6, 1])
def test_a_signal_at_any_moment_ends_with_130_or_after_the_end(start: Start, every: int) -> None:
    """From the first line of ours to the last: none of it shows a traceback."""
    for first, number in enumerate((signal.SIGINT, signal.SIGTERM, signal.SIGHUP)):
        for tenths in range(1 + 2 * first, 12, every):
            with start("migrate") as process:
                time.sleep(tenths / 10)
                process.send_signal(number)
                _, err = process.communicate(timeout=600)
            # Before the tool has begun, the interpreter ends as any process does.
            assert process.returncode in (130, 5, -number) or "kalshi_fills" not in err, err
            assert_calm(err if "kalshi_fills" in err else "")


@pytest.mark.torture
@pytest.mark.sampled(2)
def test_a_terminal_that_vanishes_under_a_progress_bar_breaks_nothing(
    start: Start, slow: tuple[Any, dict[str, str]], target: Target
) -> None:
    exchange, variables = slow
    ours, theirs = pty.openpty()
    options = {"stderr": theirs, "start_new_session": True, "env": variables | {"TERM": "xterm"}}
    with start("sync", "--format", "json", "--since", "1d", **options) as process:
        os.close(theirs)
        wait_for(lambda: exchange.requests["/portfolio/fills"] >= 3)
        os.close(ours)
        out, _ = process.communicate(timeout=600)
    assert process.returncode == 0
    assert json.loads(out)["status"] == "done"


# Odd surroundings


ODD = {
    "HOME unset": {"HOME": ""},
    "HOME gone": {"HOME": "/nonexistent/home"},
    "no width": {"COLUMNS": "0"},
    "width 1": {"COLUMNS": "1"},
    "junk width": {"COLUMNS": "wide", "LINES": "-3", "TERMINAL_WIDTH": "x"},
    "superscript width": {"COLUMNS": "\u00b2"},
    "dumb terminal": {"TERM": "dumb"},
    "no terminal": {"TERM": ""},
    "no colour": {"NO_COLOR": "1"},
    "colour forced": {"FORCE_COLOR": "1"},
    "C locale": {"LANG": "C", "LC_ALL": "C"},
    "C locale without UTF-8": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "ASCII streams": {"PYTHONIOENCODING": "ascii"},
    "Latin streams": {"PYTHONIOENCODING": "latin-1"},
    "unknown locale": {"LC_ALL": "xx_YY.UTF-9"},
    "warnings shown": {"PYTHONWARNINGS": "always"},
    "warnings as errors": {"PYTHONWARNINGS": "error"},
    "optimised": {"PYTHONOPTIMIZE": "2"},
    "development": {"PYTHONDEVMODE": "1"},
    "unbuffered": {"PYTHONUNBUFFERED": "1"},
    "odd time zone": {"TZ": "Nowhere/Never"},
    "empty variables": {"KALSHI_FILLS_TABLE": "", "KALSHI_FILLS_FORMAT": "", "KALSHI_API_URL": ""},
}


@pytest.mark.sampled(23)
@pytest.mark.parametrize("odd", ODD)
@server_only
def test_odd_surroundings_break_nothing(
    odd: str, start: Start, target: Target, serve: Serve, now: datetime
) -> None:
    exchange = serve(generate_account(4, 20, start=now - timedelta(days=3), end=now))
    variables = {"CLICKHOUSE_URL": target.url, "KALSHI_API_URL": exchange.url} | ODD[odd]
    if odd == "empty variables":
        variables["KALSHI_API_URL"] = exchange.url
    for words in (["migrate"], ["sync"], ["diagnose"], ["sync", "--nö", "--\u202ex"]):
        with start(*words, env=variables) as process:
            _, err = process.communicate(timeout=600)
        assert process.returncode == (2 if "--nö" in words else 0), err
        assert_calm(err)
        assert odd != "warnings shown" or "Warning" not in err
    assert target.read("SELECT count() FROM DB.mm_fills FINAL") == [(20,)]


def _runs_for_others() -> bool:
    try:
        return not subprocess.run([sys.executable, "-c", "pass"], user=54321, cwd="/").returncode
    except PermissionError:
        return False


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("url", ["clickhouse://127.0.0.1:1/kalshi", ""])
def test_a_user_without_home_and_name_is_told_what_to_set(url: str) -> None:
    """As containers run them."""
    if not _runs_for_others():
        pytest.skip("another user may not run this Python")
    if not url:
        pytest.importorskip("chdb", reason="the embedded engine is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "kalshi_fills", "migrate", "--format", "json"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "CLICKHOUSE_URL": url},
        capture_output=True,
        text=True,
        cwd="/",
        user=54321,
    )
    assert done.returncode == 2, done.stderr
    assert "set HOME" in json.loads(done.stdout)["hint"]
    assert_calm(done.stderr)


def test_a_working_folder_that_is_gone(environment: dict[str, str], tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    for url, code in (("clickhouse://127.0.0.1:1/k", 5), ("chdb://relative", 2)):
        done = subprocess.run(
            ["/bin/bash", "-c", f"rmdir ../gone; exec {sys.executable} -m kalshi_fills migrate"],
            env=environment | {"CLICKHOUSE_URL": url},
            capture_output=True,
            text=True,
            cwd=gone,
        )
        gone.mkdir()
        assert done.returncode == code, done.stderr
        assert_calm(done.stderr)


@pytest.mark.parametrize("where", ["/dev/full", "folder", "folder/missing/x.html", ""])
def test_a_report_that_cannot_be_written_is_told_with_2_before_anything_is_read(
    where: str, start: Start, tmp_path: Path
) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    (tmp_path / "folder").mkdir()
    with start("diagnose", "--offline", "--report", where, "--format", "json") as process:
        out, err = process.communicate()
    assert process.returncode == 2
    assert json.loads(out)["hint"]
    assert_calm(err)


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    "words",
    [
        ("migrate", "--clickhouse", ""),
        ("migrate", "--table="),
        ("--env-file", "", "migrate"),
        ("sync", "--since", ""),
        ("sync", "--overlap", ""),
        ("sync", "--overlap", "999999999d"),
        ("sync", "--since", "1000000000d"),
        ("sync", "--since", "\u0661h"),
        ("sync", "--since", "\uff12\uff10\uff12\uff16-01-01"),
        ("sync", "--rate-share", "inf"),
        ("sync", "--", "--full"),
        ("truncate", "--yes", "--restore", ""),
        ("diagnose", "--report", ""),
        ("diagnose", "--query", ""),
    ],
)
def test_an_empty_or_impossible_value_is_never_a_default(
    words: tuple[str, ...], start: Start
) -> None:
    with start(*words) as process:
        _, err = process.communicate()
    assert process.returncode == 2, err
    assert_calm(err)


def test_what_was_stored_is_the_truth_although_nobody_could_be_told(
    shell: Callable[..., Done], target: Target, serve: Serve, now: datetime
) -> None:
    account = generate_account(6, 400, start=now - timedelta(days=3), end=now, eras="current")
    exchange = serve(account)
    variables = {"CLICKHOUSE_URL": target.url, "KALSHI_API_URL": exchange.url}
    for words in ("migrate", "sync", "sync --full"):
        shell(CLOSED["both full"], words, **variables)
    select = f"SELECT {TRUTH_COLUMNS} FROM DB.mm_fills FINAL ORDER BY ALL"
    assert target.read(select) == truth(account)
