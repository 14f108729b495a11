"""The oldest versions that are allowed are none with a known hole."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version

import pytest
from support.commandline import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

FLOORS = {
    "urllib3": (2, 6),  # CVE-2025-66418, CVE-2025-66471: answers that unpack without end
    "requests": (2, 32, 4),  # CVE-2024-47081: .netrc credentials sent to another host
    "filelock": (3, 20, 1),  # CVE-2025-68146: a lock file opened through a planted link
    "jinja2": (3, 1, 6),  # CVE-2025-27516: a sandbox that can be left
    "cryptography": (44, 0, 1),  # CVE-2024-12797: the OpenSSL of its wheels
}


def stated() -> list[str]:
    project = PROJECT["project"]
    extras = [name for extra in project["optional-dependencies"].values() for name in extra]
    return [*project["dependencies"], *extras, *PROJECT["dependency-groups"]["dev"]]


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


@pytest.mark.parametrize("library", FLOORS)
def test_no_version_with_a_known_hole_is_allowed(library: str) -> None:
    found = [entry.split(">=")[1] for entry in stated() if entry.split(">=")[0] == library]
    assert found
    assert min(map(numbers, found)) >= FLOORS[library]


def test_every_dependency_has_a_lower_bound_and_no_upper_one() -> None:
    for entry in stated():
        assert re.fullmatch(r"[a-z0-9-]+>=\d+(\.\d+)*", entry)


def test_what_is_installed_is_allowed() -> None:
    for entry in stated():
        name, _, floor = entry.partition(">=")
        if name not in ("chdb-core", "hatchling", "types-requests"):
            assert numbers(version(name)) >= numbers(floor)
