"""Running a process and what it cost; several in rounds, so that noise strikes all alike."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

_MEASURE: Final = """
import json, resource, subprocess, sys, time
report, *command = sys.argv[1:]
began = time.perf_counter()
code = subprocess.run(command).returncode
wall = time.perf_counter() - began
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(report, "w") as file:
    json.dump([wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024], file)
sys.exit(code)
"""
"""Runs a command; by way of this small process, since what its parent has in memory counts for a
process that has just been started."""


class Cost(NamedTuple):
    """What a process cost from its start to its end."""

    wall: float
    """Seconds."""
    processor: float
    """Seconds of its own; a server's are not among them."""
    peak_mib: float
    """Resident memory."""


class Failed(Exception):
    """A process ended with an error; the text says which and how."""


def run(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    accepted: Collection[int] = (0,),
) -> tuple[Cost, str]:
    """Run a command to its end; return what it cost and what it printed.

    Raises:
        Failed: it ended with another exit code than those accepted.
    """
    with tempfile.TemporaryDirectory(prefix="kalshi-fills-bench-cost-") as folder:
        report = Path(folder) / "cost"
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _MEASURE, str(report), *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode not in accepted:
            lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
            said = " / ".join(lines[-4:])
            raise Failed(f"exit code {done.returncode} of {' '.join(command[:6])}: {said}")
        return Cost(*json.loads(report.read_text())), done.stdout


Costs = Mapping[str, Sequence[Cost]]
"""By contestant, what each round cost; a contestant that failed is not there."""


def in_rounds(
    contestants: Mapping[str, Callable[[], Cost]],
    rounds: int,
    *,
    may_fail: Collection[str] = (),
    say: Callable[[str], None],
) -> Costs:
    """Run every contestant once in each round, each round beginning with another one.

    Args:
        contestants: by name, what to do and measure once.
        rounds: how many.
        may_fail: those that are left out with one line where they fail.
        say: prints a line.

    Raises:
        Failed: another contestant failed.
    """
    costs: dict[str, list[Cost]] = defaultdict(list)
    left = list(contestants)
    for number in range(rounds):
        turn = number % len(left)
        for name in [*left[turn:], *left[:turn]]:
            try:
                costs[name].append(contestants[name]())
            except Failed as failure:
                if name not in may_fail:
                    raise
                say(f"{name}: left out, {failure}")
                left.remove(name)
                costs.pop(name, None)
    return costs
