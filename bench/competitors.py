"""The competitors, each in a virtual environment of its own below a cache folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.measure import Failed, run

SCRIPTS: Final = Path(__file__).parent / "contestants"

_INSTALL_SECONDS: Final = 600


class Competitor(NamedTuple):
    """Another way to get an account's fills into ClickHouse."""

    name: str
    requirements: Sequence[str]
    shown: Sequence[str]
    """Packages whose versions belong beside the figures."""
    script: str


PYKALSHI: Final = Competitor(
    "pykalshi",
    ("pykalshi>=2,<3", "clickhouse-connect>=1.0"),
    ("pykalshi", "clickhouse-connect"),
    "with_pykalshi.py",
)

DLT: Final = Competitor(
    "dlt", ("dlt[clickhouse]>=1.20,<2", "cryptography"), ("dlt",), "with_dlt.py"
)

COMPETITORS: Final = (PYKALSHI, DLT)


class Installed(NamedTuple):
    """A competitor that can be run."""

    competitor: Competitor
    python: Path
    versions: str
    """Such as `dlt 1.31.0`."""

    @property
    def command(self) -> list[str]:
        """How its script begins."""
        return [str(self.python), str(SCRIPTS / self.competitor.script)]


def install(cache: Path, say: Callable[[str], None]) -> list[Installed]:
    """Return the competitors that are installed below a folder, or could be just now.

    One that cannot be installed is left out with one line.
    """
    found = []
    for competitor in COMPETITORS:
        try:
            found.append(_install(competitor, cache / competitor.name, say))
        except (Failed, OSError, subprocess.SubprocessError) as error:
            reason = str(error).splitlines()[0]
            say(f"{competitor.name}: left out, it could not be installed: {reason}")
    return found


def _install(competitor: Competitor, folder: Path, say: Callable[[str], None]) -> Installed:
    python = folder / "bin" / "python"
    made_for = f"{sys.version} {' '.join(competitor.requirements)}"
    mark = folder / "installed"
    if not mark.exists() or mark.read_text() != made_for:
        say(f"{competitor.name}: being installed into {folder}")
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        _pip(python, "install", "--quiet", *competitor.requirements)
        mark.write_text(made_for)
    code = (
        "import sys; from importlib.metadata import version\n"
        "print(', '.join(f'{name} {version(name)}' for name in sys.argv[1:]))"
    )
    versions = run([str(python), "-c", code, *competitor.shown])[1].strip()
    return Installed(competitor, python, versions)


def _pip(python: Path, *words: str) -> None:
    done = subprocess.run(
        [str(python), "-m", "pip", "--disable-pip-version-check", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=_INSTALL_SECONDS,
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise Failed(errors[-1] if errors else f"pip ended with exit code {done.returncode}")
