"""The wheel on its own: installed elsewhere, away from the checkout."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commandline import ROOT

import kalshi_fills


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", *isolation, "--wheel-dir", str(folder), str(ROOT)),
        ],
        capture_output=True,
        text=True,
    )
    if done.returncode and "No matching distribution found for hatchling" in done.stderr:
        pytest.skip("hatchling is neither installed nor to be had")
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it; what it depends on is borrowed from this one."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    packages = Path(
        sysconfig.get_path("purelib", "venv", vars={"base": str(folder), "platbase": str(folder)})
    )
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")),
            *("install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"),
            str(wheel),
        ],
        check=True,
        capture_output=True,
    )
    # A plain line adds a folder without running the .pth files in it, so without the checkout.
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a program of the fresh environment from an empty folder."""
    empty = tmp_path / "empty"
    empty.mkdir()

    def start(program: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(installed / "bin" / program), *words],
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "COLUMNS": "100"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            cwd=empty,
        )

    return start


Run = Callable[..., subprocess.CompletedProcess[str]]


def listed(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_holds_the_package_and_every_statement(wheel: Path) -> None:
    names = set(listed(wheel))

    modules = {path.relative_to(ROOT) for path in (ROOT / "kalshi_fills").rglob("*.py")}
    statements = {path.relative_to(ROOT) for path in (ROOT / "queries").rglob("*.sql")}
    assert len(statements) > 10
    assert {str(path) for path in modules} <= names
    assert {f"kalshi_fills/{path}" for path in statements} <= names
    assert "kalshi_fills/report/page.html" in names


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    names = listed(wheel)

    strays = [
        name
        for name in names
        if not name.startswith(f"kalshi_fills-{kalshi_fills.__version__}.dist-info/")
        and not name.startswith("kalshi_fills/")
    ]
    assert strays == []
    assert not [name for name in names if "__pycache__" in name or "/tests/" in name]


def test_the_wheel_says_what_it_needs(wheel: Path) -> None:
    (metadata,) = [name for name in listed(wheel) if name.endswith("METADATA")]
    with zipfile.ZipFile(wheel) as archive:
        lines = archive.read(metadata).decode().splitlines()

    needed = [line for line in lines if line.startswith("Requires-Dist: ")]
    assert any("clickhouse-driver" in line for line in needed)
    chdb = [line for line in needed if "chdb" in line]
    assert chdb
    assert all("extra == 'embedded'" in line for line in chdb)
    assert f"Version: {kalshi_fills.__version__}" in lines


def test_code_and_statements_come_from_the_wheel(run: Run, installed: Path) -> None:
    code = (
        "import json, kalshi_fills, kalshi_fills.warehouse.statements as queries;"
        "print(json.dumps([kalshi_fills.__file__, str(queries._folder())]))"
    )

    done = run("python", "-c", code)

    assert done.returncode == 0, done.stderr
    for place in json.loads(done.stdout):
        assert Path(place).is_relative_to(installed)
        assert not Path(place).is_relative_to(ROOT)


def test_the_command_tells_its_version(run: Run) -> None:
    done = run("kalshi-fills", "--version")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"kalshi-fills {kalshi_fills.__version__}\n"


def test_a_migration_is_planned_from_an_empty_folder(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("chdb", reason="the embedded engine is not installed")

    done = run(
        *("kalshi-fills", "migrate", "--dry-run", "--format", "json"),
        *("--clickhouse", f"chdb://{tmp_path}/chdb"),
    )

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["changed"] is True
    assert told["columns"] == []
    assert any("create_fills" in step["name"] for step in told["steps"])
    assert list((tmp_path / "empty").iterdir()) == []


def test_the_package_runs_as_a_module(run: Run) -> None:
    done = run("python", "-m", "kalshi_fills", "--help")

    assert done.returncode == 0, done.stderr
    assert "migrate" in done.stdout
