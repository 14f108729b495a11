"""The shared options, before and after a command, without any command at work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
from support.commandline import ROOT

from kalshi_fills import __main__ as entry
from kalshi_fills.cli.app import Invocation, app, command, command_line, command_names
from kalshi_fills.cli.settings import OPTIONS

PACKAGE = ROOT / "kalshi_fills"

entry.command_line()  # it makes the commands known


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Invocation]:
    """Add a command that only keeps what was asked for."""
    monkeypatch.setattr(app, "registered_commands", list(app.registered_commands))
    found: list[Invocation] = []

    @command
    def probe(ctx: typer.Context) -> int:
        found.append(ctx.ensure_object(Invocation))
        return 7

    return found


def run(*words: str) -> object:
    return command_line()(args=list(words), standalone_mode=False)


def test_every_option_may_stand_before_or_after_the_command(asked: list[Invocation]) -> None:
    for option in OPTIONS:
        for words in (
            (f"--{option.name}", "value", "probe"),
            ("probe", f"--{option.name}=value"),
        ):
            assert run(*words) == 7
            assert asked.pop().options == {option.name: "value"}


def test_the_later_of_two_wins_and_the_others_are_kept(asked: list[Invocation]) -> None:
    run("--table", "one", "--format", "json", "--verbose", "probe", "--table", "two")

    assert asked[0].options == {"table": "two", "format": "json"}
    assert asked[0].verbose


def test_an_empty_value_is_kept_and_none_given_is_none(asked: list[Invocation]) -> None:
    run("--table", "one", "probe", "--table", "")
    run("probe")

    assert asked[0].options == {"table": ""}
    assert (asked[1].options, asked[1].verbose) == ({}, False)


def test_every_command_has_every_shared_option() -> None:
    group = command_line()
    assert set(group.commands) == set(command_names())
    assert list(group.commands) == "migrate sync diagnose status query truncate".split()
    for known in group.commands.values():
        names = {flag for option in known.params for flag in option.opts}
        assert {f"--{option.name}" for option in OPTIONS} | {"--verbose"} <= names


def test_only_the_settings_read_the_environment() -> None:
    """The process tames the terminal's size, and matplotlib reads its backend, from it."""
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in Path(PACKAGE).rglob("*.py")
        if re.search(r"\bos\.(environ|getenv)\b", path.read_text()) and "practice" not in path.parts
    }
    assert found == {"cli/settings.py", "host/process.py", "report/drawing.py"}
