"""Processes that have imported the tool already: most of what a short command takes.

One process for each version of the code imports everything but the embedded engine, whose threads
do not outlive a fork, and forks for each run. What a run gets is a process of its own, with its own
environment, folder, streams and exit code. Where the environment decides more than what the tool is
pointed at, or a run is under way, a process is started the usual way.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

_ROOT = Path(__file__).parents[2]

_HARMLESS = ("KALSHI_", "CLICKHOUSE_", "XDG_", "HOME", "PATH", "COLUMNS", "PYTHONPATH")

_WAITING = r"""
import contextlib, gc, importlib, os, pickle, pkgutil, signal, socket, struct, sys
import kalshi_fills
for module in pkgutil.walk_packages(kalshi_fills.__path__, "kalshi_fills."):
    if ".practice" not in module.name and not module.name.endswith("__main__"):
        with contextlib.suppress(ImportError):
            importlib.import_module(module.name)
for name in "clickhouse_driver rich.markdown typer.rich_utils".split():
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
assert "chdb" not in sys.modules
link = socket.socket(fileno=int(sys.argv[1]))
gc.collect()
gc.freeze()  # else a fork's collections copy all that was imported

def serve():
    while True:
        head, streams, _, _ = socket.recv_fds(link, 4, 3)
        if not head:
            os._exit(0)
        (size,) = struct.unpack("!I", head)
        asked = b""
        while len(asked) < size:
            asked += link.recv(size - len(asked))
        child = os.fork()
        if child == 0:
            return pickle.loads(asked), streams
        for stream in streams:
            os.close(stream)
        link.sendall(struct.pack("!i", child))
        link.sendall(struct.pack("!i", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))

asked, streams = serve()
link.close()
for number, stream in enumerate(streams):
    os.dup2(stream, number)
    os.close(stream)
os.chdir(asked["folder"])
os.environ.clear()
os.environ.update(asked["variables"])
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = asked["words"]
exec(asked["code"], {"__name__": "__main__"})
"""

_COMMAND = "import sys; from kalshi_fills.__main__ import main; sys.exit(main())"


class Ended(NamedTuple):
    """A process that has ended."""

    code: int
    out: bytes
    err: bytes


class _Warm:
    """The process that waits to be forked."""

    def __init__(self, code: str, columns: str) -> None:
        self.link, other = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _WAITING, str(other.fileno())],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": code,
                "COLUMNS": columns,
                "OPENBLAS_NUM_THREADS": "1",
                "OMP_NUM_THREADS": "1",
            },
            pass_fds=[other.fileno()],
            cwd=tempfile.gettempdir(),
        )
        other.close()

    def run(self, asked: Mapping[str, object], streams: Sequence[IO[bytes]], timeout: float) -> int:
        """Return the exit code of one run."""
        request = pickle.dumps(dict(asked))
        socket.send_fds(
            self.link, [struct.pack("!I", len(request))], [stream.fileno() for stream in streams]
        )
        self.link.sendall(request)
        child = self._number()
        self.link.settimeout(timeout)
        try:
            return self._number()
        except TimeoutError:
            os.kill(child, signal.SIGKILL)
            self.link.settimeout(10)
            self._number()
            raise subprocess.TimeoutExpired(str(asked["words"]), timeout) from None
        finally:
            self.link.settimeout(None)

    def _number(self) -> int:
        got = b""
        while len(got) < 4:
            more = self.link.recv(4 - len(got))
            assert more, "the process that forks is gone"
            got += more
        return int(struct.unpack("!i", got)[0])


_free = threading.Lock()
_warm: dict[str, _Warm] = {}
"""By the folder of the code."""


def run_command(
    words: Sequence[str], variables: Mapping[str, str], folder: Path, timeout: float
) -> Ended:
    """Run `kalshi-fills` as a process; return how it ended and what it printed."""
    return _run(["kalshi-fills", *words], _COMMAND, b"", variables, folder, timeout)


def run_code(code: str, given: bytes) -> Ended:
    """Run a piece of Python as a process of the tool's, with bytes as its input."""
    return _run(["-c"], code, given, dict(os.environ), Path.cwd(), 120)


def _run(
    words: list[str],
    code: str,
    given: bytes,
    variables: Mapping[str, str],
    folder: Path,
    timeout: float,
) -> Ended:
    version = variables.get("PYTHONPATH", str(_ROOT)) if code == _COMMAND else str(_ROOT)
    harmless = code != _COMMAND or (
        all(name.startswith(_HARMLESS) for name in variables) and os.pathsep not in version
    )
    with tempfile.TemporaryFile() as into, tempfile.TemporaryFile() as out:
        with tempfile.TemporaryFile() as err:
            into.write(given)
            into.seek(0)
            if harmless and _free.acquire(blocking=False):
                try:
                    if version not in _warm:
                        _warm[version] = _Warm(version, variables.get("COLUMNS", "80"))
                    asked = {
                        "words": words,
                        "code": code,
                        "variables": dict(variables),
                        "folder": str(folder),
                    }
                    ended = _warm[version].run(asked, (into, out, err), timeout)
                finally:
                    _free.release()
            else:
                start = ["-m", "kalshi_fills", *words[1:]] if code == _COMMAND else ["-c", code]
                ended = subprocess.run(
                    [sys.executable, *start],
                    env=dict(variables),
                    stdin=into,
                    stdout=out,
                    stderr=err,
                    timeout=timeout,
                    cwd=folder,
                    check=False,
                ).returncode
            out.seek(0)
            err.seek(0)
            return Ended(ended, out.read(), err.read())
