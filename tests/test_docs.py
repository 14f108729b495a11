"""README and docs tell the truth: held against the help, the code and the project file."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from support.commandline import ROOT
from support.interface import all_options, command_names, options_of

from kalshi_fills import errors
from kalshi_fills.cli.settings import OPTIONS
from kalshi_fills.pipeline.fills import MEANING, STAGE_OF, Reason

DOCS = ROOT / "docs"

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

WRITTEN = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))]

OF_OTHER_PROGRAMS = {"--file", "--target"}


def _section(text: str, title: str) -> str:
    parts = re.split(r"^## ", text, flags=re.MULTILINE)
    return parts[[part.split("\n")[0] for part in parts].index(title)]


def test_every_command_is_in_the_readme_and_no_other():
    documented = re.findall(r"^\| `kalshi-fills (\w+)`", README, flags=re.MULTILINE)
    assert sorted(documented) == sorted(command_names())
    assert re.findall(r"^## (\w+)$", PAGES["commands.md"], flags=re.MULTILINE) == documented


def test_every_option_is_documented_at_its_command():
    for command in command_names():
        text = _section(PAGES["commands.md"], command) + PAGES["configuration.md"] + README
        for option in options_of(command) - {"--help"}:
            assert option in text, f"{command} {option}"


def test_every_option_that_is_named_exists():
    known = all_options() | OF_OTHER_PROGRAMS
    for name, text in {"README.md": README, **PAGES}.items():
        if name == "performance.md":  # the options of the benchmark
            continue
        for option in re.findall(r"`(?:[\w-]+ )*(--[a-z-]+)", text):
            assert option in known, f"{name}: {option}"


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_options_have_their_variable_in_the_configuration_table(option):
    rows = [
        next(line for line in text.splitlines() if line.startswith(f"| `--{option.name}"))
        for text in (README, PAGES["configuration.md"])
    ]
    assert rows[0] == rows[1]
    assert option.variable is None or f"`{option.variable}`" in rows[0]


def test_every_variable_that_is_named_exists():
    code = "".join(path.read_text() for path in (ROOT / "kalshi_fills" / "cli").glob("*.py"))
    for name, text in {"README.md": README, **PAGES}.items():
        named = set(re.findall(r"\b(?:KALSHI|CLICKHOUSE)_[A-Z_]+\b", text))
        for variable in named - {"CLICKHOUSE_BINARY"}:  # of the tests and the benchmark
            base = variable.removesuffix("_FILE")
            assert f'"{variable}"' in code or f'"{base}"' in code, f"{name}: {variable}"


def test_exit_codes_are_those_of_the_errors():
    section = _section(README, "Exit codes")
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", section, re.M)}
    trees = (errors.KalshiFillsError, errors.Interrupted)
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, trees)
    ]
    assert documented == {kind.exit_code for kind in kinds} | {0, 1, 3}


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_documented_at_its_stage_and_has_a_meaning(reason):
    lines = PAGES["fills.md"].splitlines()
    row = next(line for line in lines if line.startswith(f"| {STAGE_OF[reason]} |"))
    assert f"`{reason}`" in row
    assert MEANING[reason]


def test_every_dependency_has_its_reason():
    named = PROJECT["project"]["dependencies"]
    for extra in PROJECT["project"]["optional-dependencies"].values():
        named += extra
    wanted = {re.split(r"[>=<\[]", name)[0] for name in named}
    section = _section(README, "Built on")
    given = set(re.findall(r"^\| ([a-z0-9-]+) \|", section, re.M)) - {"library", "---"}
    assert given == wanted


def test_every_folder_of_the_package_is_described_and_no_other():
    section = _section((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), "The package")
    described = re.findall(r"^\| `(\w+)` \|", section, re.M)
    package = ROOT / "kalshi_fills"
    folders = {path.parent.name for path in package.glob("*/__init__.py")}
    modules = {path.stem for path in package.glob("*.py")} - {"__init__", "__main__"}
    assert sorted(described) == sorted(folders | modules)


def test_the_documented_tables_and_columns_are_those_of_the_migrations():
    documented = set(re.findall(r"^\| `(mm_fills\w*)` \|", PAGES["tables.md"], re.M))
    created = set()
    migrations = ROOT / "queries" / "migrations"
    for path in migrations.glob("*.sql"):
        created |= set(re.findall(r"^CREATE .*?`(mm_fills\w*)`", path.read_text(), re.M))
    assert documented == created

    fills = (migrations / "0002_create_fills.sql").read_text()
    columns = set(re.findall(r"^    `(\w+)` ", fills, re.M))
    section = _section(PAGES["tables.md"], "Columns of mm_fills")
    rows = "".join(line.split("|")[1] for line in section.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(\w+)`", rows)) == columns


def test_the_readme_is_read_in_two_minutes():
    assert len(README.splitlines()) <= 155


def _anchors(text: str) -> set[str]:
    """Return the anchors that GitHub makes of the headings."""
    outside = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", outside, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.is_file(), target
        if page.parent == DOCS:
            assert linked.is_relative_to(DOCS), f"not on the site: {target}"
        if anchor:
            assert anchor in _anchors(linked.read_text(encoding="utf-8")), target


def test_every_page_is_on_the_site():
    listed = re.findall(r"^([a-z-]+)$", PAGES["index.md"], flags=re.MULTILINE)
    assert sorted([*listed, "index"]) == sorted(name.removesuffix(".md") for name in PAGES)
