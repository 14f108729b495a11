"""Nothing that came from outside steers a terminal: not in tables, notes, logs, errors or JSON."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text
from support.commandline import Done

from kalshi_fills.host.printable import ascii_json, visible, visible_lines
from kalshi_fills.report import console as report
from kalshi_fills.report import logs, progress
from kalshi_fills.report.sync import show_sync, sync_json
from kalshi_fills.sync.report import SyncReport
from kalshi_fills.warehouse.statements import Tables

Cli = Callable[..., Done]

HOSTILE = [
    "\x1b]0;owned\x07",
    "\x1b[2J",
    "\x9b31m",
    "\x7f\x7f\x7f",
    "\u202eevil\u202c",
    "\u2066isolated\u2069",
    "zero\u200bwidth\ufeff",
    "lone \udc80 surrogate",
    "line\u2028separator",
    "back\b\b\bspace\rreturn",
    "null\x00byte",
    "tab\tand\vmore\f",
]
STEERS = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


@contextlib.contextmanager
def streams() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield out, err


def assert_tame(*texts: str) -> None:
    for text in texts:
        assert not STEERS.search(text), repr(text)


@given(st.text(st.characters(exclude_categories=())))
def test_visible_text_is_printable_and_json_is_ascii(text: str) -> None:
    assert visible(text).isprintable()
    assert_tame(visible(text), visible_lines(text))
    assert visible_lines(text).count("\n") == text.count("\n")
    line = ascii_json({"a": text})
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line) == {"a": text}


def test_harmless_text_stays_as_it_is() -> None:
    for text in ("", "KXHIGHNY-26NOV23-B41", "Zürich, 東京, 🙂", "a  b"):
        assert visible(text) == text


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("form", ["json", "text"])
def test_no_log_line_steers_a_terminal(text: str, form: str) -> None:
    with streams() as (_, err):
        logs.configure(form, verbose=True)
        try:
            log = logging.getLogger("kalshi_fills.test")
            log.warning(
                f"event {text}", extra={"fields": {text: text, "n": [text], "o": {1: text}}}
            )
        finally:
            logging.getLogger("kalshi_fills").handlers = []
            logging.getLogger("kalshi_fills").propagate = True
    assert_tame(err.getvalue())
    assert err.getvalue().count("\n") == 1
    if form == "json":
        assert err.getvalue().isascii()
        assert json.loads(err.getvalue())["n"] == [text]


@pytest.mark.parametrize("text", [*HOSTILE, "two\nlines"])
def test_no_failure_steers_a_terminal(text: str) -> None:
    with streams() as (out, err):
        report.show_failure("sync", 5, f"refused: {text}", f"run {text}", "json")
    assert_tame(out.getvalue(), err.getvalue())
    assert len(err.getvalue().splitlines()) == 2
    assert out.getvalue().isascii()
    assert json.loads(out.getvalue())["error"].startswith("refused: ")


@pytest.mark.parametrize("text", HOSTILE)
def test_no_table_steers_a_terminal_wherever_the_text_stands(text: str) -> None:
    table = Table(title=Text(text), caption=text)
    table.add_column(Text(text))
    table.add_row(Text(text))
    table.add_row(f"as a string {text}")
    with streams() as (out, _):
        console = report.new_console()
        console.print(table)
        console.print(Text(text), soft_wrap=True)
        console.print(text)
    assert_tame(out.getvalue())


@pytest.mark.parametrize("text", HOSTILE)
def test_the_ledgers_words_do_not_steer_a_terminal(text: str) -> None:
    done = SyncReport(uuid.uuid4())
    done.other_hosts = [text, f"host {text}"]
    with streams() as (out, _):
        show_sync(done, Tables("kalshi"))
        report.show(sync_json(done))
    assert_tame(out.getvalue())


@pytest.mark.parametrize("text", HOSTILE)
def test_a_spinner_shows_no_control_character_of_its_text(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "_PROGRESS_AFTER_SECONDS", 0.0)
    with streams() as (_, err):
        with progress.spinner() as say:
            for _ in range(5):
                say(f"reading {text}")
            ends = time.monotonic() + 60
            while "reading" not in err.getvalue() and time.monotonic() < ends:
                time.sleep(0.02)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", err.getvalue())
    assert "reading" in shown
    assert_tame(shown.replace("\r", ""))


def test_file_names_and_errors_of_a_command_do_not_steer_a_terminal(
    cli: Cli, tmp_path: Path
) -> None:
    odd = tmp_path / "a\x1b[2Jb\u202ec"
    odd.mkdir()
    (odd / "file").write_text("")
    tries: list[tuple[list[str], dict[str, Any]]] = [
        (["migrate", "--private-key", str(odd)], {}),
        (["migrate", "--private-key", str(odd / "missing.pem")], {}),
        (["migrate", "--env-file", str(odd)], {}),
        (["diagnose", "--offline", "--report", str(odd)], {}),
        (["migrate", "--clickhouse", f"chdb://{odd}/file"], {}),
        (["migrate"], {"XDG_STATE_HOME": str(odd / "file"), "CLICKHOUSE_URL": "clickhouse://h"}),
        (["sync", f"--{odd.name}"], {}),
        ([odd.name], {}),
        (["sync", "--rate-share", odd.name], {}),
        (["sync", "--since", odd.name], {}),
        (["truncate", "--yes", "--restore", odd.name], {}),
    ]
    for (words, variables), form in zip(tries, itertools.cycle(("table", "json")), strict=False):
        done = cli(*words, env={"KALSHI_FILLS_FORMAT": form, **variables})
        assert done.code == 2, (words, done.err)
        assert_tame(done.out, done.err)
        assert done.out.isascii()


@pytest.mark.server
def test_what_the_server_says_does_not_steer_a_terminal(cli: Cli, target: Any) -> None:
    """A host name in the ledger, as another program may have written it."""
    if not target.url.startswith("clickhouse"):
        pytest.skip("what is written by another needs a server")
    assert cli("migrate", url=target.url).code == 0
    target.read("SELECT 1 FROM DB.mm_fills_runs LIMIT 0")
    from kalshi_fills.warehouse.server import open_server

    opened = open_server(target.url)
    names = [row[0] for row in opened.rows(f"DESCRIBE TABLE {target.database}.mm_fills_runs")]
    values = {"run_id": uuid.uuid4(), "status": "running", "host": "\x1b]0;owned\x07\u202e"}
    values |= {"started_at": datetime.now(UTC), "pid": os.getpid()}
    row = {name: value for name, value in values.items() if name in names}
    opened.insert(f"{target.database}.mm_fills_runs", list(row), [tuple(row.values())])
    opened.close()
    for words in (["diagnose", "--offline"], ["truncate", "--dry-run"]):
        for form in ("table", "json"):
            done = cli(*words, "--format", form, "--log-format", "text", url=target.url)
            assert_tame(done.out, done.err)
