"""Release 0.1, built from its commit, to make tables with."""

from __future__ import annotations

import importlib.util
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from support.commandline import KEY_ID, ROOT, Account, Done
from support.warm import run_command

COMMIT = "207d208"


def build_release_0_1(folder: Path) -> Path:
    """Return a folder with the code of the release's wheel; skip where git has no such commit.

    Where hatchling is not installed no wheel can be built, and the exported commit itself is used.
    """
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", COMMIT], capture_output=True, check=False
    )
    if archive.returncode:
        pytest.skip(f"the commit of release 0.1 ({COMMIT}) is not in this repository's history")
    exported = folder / "exported"
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(exported, filter="data")
    if importlib.util.find_spec("hatchling") is None:
        return exported
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(exported)),
        ],
        capture_output=True,
        check=True,
    )
    (wheel,) = folder.glob("kalshi_fills-0.1*.whl")
    installed = folder / "installed"
    with zipfile.ZipFile(wheel) as files:
        files.extractall(installed)
    return installed


def runner(code: Path, folder: Path, api_key: Account) -> Callable[..., Done]:
    """Return a function that runs a command of the code in a folder as a process."""

    def run(*words: str, url: str, api: str = "prod") -> Done:
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "PYTHONPATH": str(code),
            "KALSHI_API_KEY_ID": KEY_ID,
            "KALSHI_PRIVATE_KEY_PATH": str(api_key.path),
            "CLICKHOUSE_URL": url,
            "KALSHI_API_URL": api,
        }
        ended = run_command(words, variables, folder, timeout=600)
        return Done(ended.code, ended.out.decode(), ended.err.decode())

    return run
