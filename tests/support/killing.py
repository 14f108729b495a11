"""Commands that are killed at random moments, beside an engine that never stops writing."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.commandline import ROOT, Done
from support.warm import run_command

Read = Callable[..., list[tuple[Any, ...]]]


@dataclass
class Figures:
    """What a test of kills has seen."""

    kills: Counter[str] = field(default_factory=Counter)
    """How often, by what the kill left behind."""
    whole: int = 0
    """Runs that were through before the kill came."""
    written: int = 0
    """Rows that an engine wrote meanwhile."""

    def __str__(self) -> str:
        left = ", ".join(f"{count} x {what}" for what, count in self.kills.most_common())
        return (
            f"{self.kills.total()} kills ({left}), {self.whole} runs were through before, "
            f"{self.written:,} rows written meanwhile"
        )


class Writer(threading.Thread):
    """An engine that goes on inserting, and remembers what was acknowledged.

    Args:
        insert: inserts the rows of a number, and returns their names.
        close: is called at the end.
    """

    def __init__(self, insert: Callable[[int], Sequence[str]], close: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self.acknowledged: set[str] = set()
        self.errors: list[Exception] = []
        self.forgiving = False
        """True where errors are expected: the server itself is killed."""
        self._insert = insert
        self._close = close
        self._end = threading.Event()

    def run(self) -> None:
        number = 0
        while not self._end.is_set():
            number += 1
            try:
                self.acknowledged.update(self._insert(number))
            except Exception as error:
                if not self.forgiving:
                    self.errors.append(error)
                time.sleep(0.05)
            time.sleep(0.01)

    def end(self) -> None:
        self._end.set()
        self.join(timeout=600)
        assert not self.is_alive()
        self._close()


@contextmanager
def writing(writer: Writer | None) -> Iterator[Writer | None]:
    """Have an engine write meanwhile; None where the folder is one process's alone."""
    if writer is None:
        yield None
        return
    writer.start()
    try:
        yield writer
    finally:
        writer.end()


class Killer:
    """Runs a command as a process and kills it at a random moment.

    Args:
        command: such as `migrate`, whose log has a `migrate_plan` and a `migrate_step` for each.
        modes: the words behind the command, by the name of what they ask for.
        url: where the tables are.
        home: a folder for the state of the runs.
        seed: which moments are chosen.
    """

    def __init__(
        self, command: str, modes: Mapping[str, Sequence[str]], url: str, home: Path, seed: int
    ) -> None:
        self._command = command
        self._modes = modes
        self._home = home
        self._random = random.Random(seed)
        self._longest: dict[str, float] = {}
        self._steps: dict[str, int] = {}
        self.variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "XDG_STATE_HOME": str(home / "state"),
            "PYTHONPATH": str(ROOT),
            "CLICKHOUSE_URL": url,
        }

    def start(self, mode: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "kalshi_fills", *self._words(mode)],
            env=self.variables,
            cwd=self._home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def measure(self, mode: str) -> None:
        """Wait for a run to end by itself, to know how long one takes and its steps."""
        process = self.start(mode)
        assert self._until(process, "plan")
        began = time.monotonic()
        steps, longest = 0, 0.0
        while self._until(process, "step"):
            steps, longest = steps + 1, time.monotonic() - began
        process.communicate(timeout=600)
        assert process.returncode == 0
        self._steps[mode] = steps
        self._longest[mode] = longest or time.monotonic() - began

    def kill_one(self, mode: str) -> bool:
        """Start a run and kill it; return whether it was still alive then.

        Any moment since its start, any since its plan is made, or one soon after any of its
        steps: most of them are too short to be met by chance.
        """
        process = self.start(mode)
        kind = self._random.random()
        if kind < 0.1:
            time.sleep(self._random.uniform(0.1, 0.6))
        elif kind < 0.6 or not self._steps[mode]:
            self._until(process, "plan")
            time.sleep(self._random.uniform(0, self._longest[mode]))
        else:
            for _ in range(self._random.randint(1, self._steps[mode])):
                self._until(process, "step")
            time.sleep(self._random.uniform(0, 0.03))
        process.kill()
        process.communicate(timeout=600)
        assert process.returncode in (-9, 0)
        return process.returncode != 0

    def run(self, mode: str) -> Done:
        """Run it to its end."""
        ended = run_command(self._words(mode), self.variables, self._home, timeout=600)
        return Done(ended.code, ended.out.decode(), ended.err.decode())

    def finish(self, mode: str) -> dict[str, Any]:
        """Run it to its end, which must be a good one; return its answer."""
        done = self.run(mode)
        assert done.code == 0, done.err
        answer: dict[str, Any] = done.json
        return answer

    def until_step(self, process: subprocess.Popen[bytes], name: str) -> None:
        """Read the log of a run on to the end of a step."""
        assert process.stderr is not None
        told = (json.loads(line) for line in process.stderr)
        step = f"{self._command}_step"
        assert any(line["event"] == step and line["name"] == name for line in told)

    def _words(self, mode: str) -> list[str]:
        return [self._command, *self._modes[mode], "--format", "json"]

    def _until(self, process: subprocess.Popen[bytes], event: str) -> bool:
        """Read the log on to the next such line; false if there is none any more."""
        assert process.stderr is not None
        return any(f"{self._command}_{event}" in line.decode() for line in process.stderr)


def kept_aside(folder: Path) -> Callable[[], None]:
    """Move a folder aside; return what puts a copy of it in its place."""
    seeded = folder.with_name("seeded")
    folder.rename(seeded)

    def reset() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(seeded, folder, symlinks=True)

    return reset
