"""The README tells the truth: held against the help, the code and the project file."""

from __future__ import annotations

import re
import tomllib

import pytest
from support.commandline import ROOT

from kalshi_fills import errors
from kalshi_fills.cli.settings import OPTIONS
from kalshi_fills.pipeline.fills import MEANING, STAGE_OF, Reason

README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _section(title: str) -> str:
    return re.split(r"^## ", README, flags=re.MULTILINE)[
        [part.split("\n")[0] for part in re.split(r"^## ", README, flags=re.MULTILINE)].index(title)
    ]


def _commands(cli) -> list[str]:
    out = cli("--help").out
    names = re.findall(r"^│ (\w+)  ", out[out.index("Commands") :], flags=re.MULTILINE)
    assert names
    return names


def test_every_command_of_the_help_is_in_the_readme_and_no_other(cli):
    documented = re.findall(r"^\| `kalshi-fills (\w+)`", README, flags=re.MULTILINE)
    assert sorted(documented) == sorted(_commands(cli))


def test_every_option_of_the_help_is_in_the_readme(cli):
    for command in _commands(cli):
        out = cli(command, "--help").out
        for option in set(re.findall(r"│ (--[a-z-]+)", out)) - {"--help"}:
            assert option in README, f"{command} {option}"


def test_every_option_the_readme_names_exists(cli):
    known = "".join(cli(command, "--help").out for command in _commands(cli))
    known += cli("--help").out
    for option in set(re.findall(r"`(?:\w+ )?(--[a-z-]+)", README)):
        assert option in known, option


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_options_have_their_variable_in_the_configuration_table(option):
    row = next(line for line in README.splitlines() if line.startswith(f"| `--{option.name}"))
    assert option.variable is None or f"`{option.variable}`" in row


def test_exit_codes_are_those_of_the_errors():
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", _section("Exit codes"), re.M)}
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.KalshiFillsError)
    ]
    assert documented == {kind.exit_code for kind in kinds} | {0, 1, 3}


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_documented_at_its_stage_and_has_a_meaning(reason):
    row = next(line for line in README.splitlines() if line.startswith(f"| {STAGE_OF[reason]} |"))
    assert f"`{reason}`" in row
    assert MEANING[reason]


def test_every_dependency_has_its_reason():
    named = PROJECT["project"]["dependencies"]
    for extra in PROJECT["project"]["optional-dependencies"].values():
        named += extra
    wanted = {re.split(r"[>=<\[]", name)[0] for name in named}
    given = set(re.findall(r"^\| ([a-z0-9-]+) \|", _section("Built on"), re.M)) - {"library", "---"}
    assert given == wanted


def test_every_folder_of_the_package_is_described_and_no_other():
    described = re.findall(r"^\| `(\w+)` \|", _section("Develop"), re.M)
    package = ROOT / "kalshi_fills"
    folders = {path.parent.name for path in package.glob("*/__init__.py")}
    modules = {path.stem for path in package.glob("*.py")} - {"__init__", "__main__"}
    assert sorted(described) == sorted(folders | modules)


def test_the_tables_of_the_readme_are_those_of_the_migrations():
    documented = set(re.findall(r"^\| `(mm_fills\w*)` \|", _section("Tables"), re.M))
    created = set()
    for path in (ROOT / "queries" / "migrations").glob("*.sql"):
        created |= set(re.findall(r"^CREATE .*?`(mm_fills\w*)`", path.read_text(), re.M))
    assert documented == created
