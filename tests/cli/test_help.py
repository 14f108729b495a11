"""The help at every width, option errors, and the shell's completion."""

from __future__ import annotations

import re

import pytest
from support.outcomes import Cli

COMMANDS = ("", "migrate", "sync", "diagnose", "status", "query", "truncate")


@pytest.mark.parametrize("width", [60, 80, 140])
def test_no_line_of_the_help_is_broken_or_cut(cli: Cli, width: int) -> None:
    for command in COMMANDS:
        done = cli(*command.split(), "--help", env={"COLUMNS": str(width)})
        assert done.code == 0
        assert "…" not in done.out, command
        assert "<bool>" not in done.out, command
        assert max(map(len, done.out.splitlines())) <= width
        paragraph: list[str] = []
        for line in done.out.split("╭")[0].splitlines():  # the text above the options
            if line.strip():
                paragraph.append(line.strip())
                continue
            for number, before in enumerate(paragraph[:-1]):
                # A line ends only where the next word has no room.
                assert len(before) + 1 + len(paragraph[number + 1].split()[0]) > width - 4, before
            paragraph = []


def test_the_help_names_the_program(cli: Cli) -> None:
    assert "Usage: kalshi-fills sync [OPTIONS]" in cli("sync", "--help").out


def test_an_option_error_points_to_the_help_of_its_command(cli: Cli) -> None:
    assert "hint: see `kalshi-fills sync --help`" in cli("sync", "--no-such-option").err
    assert "hint: see `kalshi-fills --help`" in cli("--no-such-option").err
    done = cli("diagnose", "--breaks", "some", "--offline")
    assert (done.code, "use --breaks all" in done.err) == (2, True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_commands_and_options(cli: Cli, shell: str) -> None:
    """As the installed script asks for them."""
    words = {"COMP_WORDS": "kalshi-fills s", "COMP_CWORD": "1"}
    words |= {"_TYPER_COMPLETE_ARGS": "kalshi-fills s", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = cli(env=words | {"_KALSHI_FILLS_COMPLETE": f"complete_{shell}"})
    assert done.code == 0
    assert {"status", "sync"} <= set(re.findall(r"\w+", done.out))
    assert "migrate" not in done.out
    words = {"COMP_WORDS": "kalshi-fills sync --dry", "COMP_CWORD": "2"}
    words |= {"_TYPER_COMPLETE_ARGS": "kalshi-fills sync --dry"}
    words |= {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = cli(env=words | {"_KALSHI_FILLS_COMPLETE": f"complete_{shell}"})
    assert "--dry-run" in done.out


def test_the_script_of_the_completion_can_be_had(cli: Cli) -> None:
    done = cli(
        "--show-completion", "bash", env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    )
    assert done.code == 0
    assert "_KALSHI_FILLS_COMPLETE" in done.out
