"""What surrounds the process: its standard streams, the terminal's size, and signals.

A stream that cannot be written changes nothing of what a run does: a reader that went away, a
full disk, a closed stream or a terminal that is gone swallow what is written. The first signal to
end is an exception, so that what is under way is ended in order; the second ends the process.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import select
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Final, NoReturn, Protocol, TextIO

from kalshi_fills.errors import Interrupted

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

INTERRUPTED: Final = "interrupted; what was written so far stays, and nothing is recorded as done"

RUN_AGAIN: Final = "run the same command again"

_SIZES: Final = ("COLUMNS", "LINES", "TERMINAL_WIDTH")

_SIZE: Final = re.compile(r"[1-9][0-9]{1,3}").fullmatch

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_SAME_REQUEST_SECONDS: Final = 0.5
_RAISED_AGAIN_SECONDS: Final = 0.01

_SHOW_CURSOR: Final = b"\x1b[?25h"


class _Quiet(io.RawIOBase):
    """A file of the system that takes everything; what cannot be written is dropped."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.failure: OSError | None = None

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer) -> int:
        block = bytes(data)
        left = memoryview(block)
        while left and self.failure is None:
            try:
                left = left[os.write(self._number, left) :]
            except BlockingIOError:
                select.select([], [self._number], [])
            except OSError as error:
                self.failure = error
        return len(block)


class Streams:
    """The standard streams of a process that is about to run a command."""

    def __init__(self, out: _Quiet, err: _Quiet) -> None:
        self._out = out
        self._err = err

    def lost_output(self) -> str | None:
        """Flush both streams; return why stdout is cut off, unless its reader closed it."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        failure = self._out.failure
        if failure is None or isinstance(failure, BrokenPipeError):
            return None
        return failure.strerror or "it cannot be written"


class CommandLine(Protocol):
    """What the command line offers to the process: the module `cli.app`."""

    def run(self, words: list[str]) -> int:
        """Run one command and return its exit code."""
        ...

    def show_interruption(self, words: list[str]) -> None:
        """Print that a command was ended before it could print anything itself."""
        ...


def run(load: Callable[[], CommandLine]) -> NoReturn:
    """Run the command line that `load` imports, and end the process with its exit code.

    Signals are handled before the import already, which takes most of a short run.
    """
    streams = prepare()
    endings = Endings()
    words = sys.argv[1:]
    endings.watch()
    try:
        try:
            commands = load()
            endings.last_words = lambda: commands.show_interruption(words)
            code = commands.run(words)
        except KeyboardInterrupt:
            sys.stderr.write(f"error: {INTERRUPTED}\nhint: {RUN_AGAIN}\n")
            code = Interrupted.exit_code
        lost = streams.lost_output()
        endings.leave()
    except KeyboardInterrupt:  # while the last of it was printed
        endings.leave()
        code, lost = Interrupted.exit_code, None
    if lost is not None:
        sys.stderr.write(f"warning: the output is cut off: {lost.lower()}\n")
    sys.stdout.flush()
    sys.stderr.flush()
    # All that must be closed is closed; the interpreter would free every object first.
    os._exit(code)


def prepare() -> Streams:
    """Replace the standard streams by ones that never fail, and prepare what libraries read.

    Warnings of libraries are for their developers. A size of the terminal that makes no sense would
    give tables no width. ClickHouse's driver would make a table of all days from 1900 to 2299 when
    it is imported. A core dump would contain the private key.
    """
    warnings.simplefilter("ignore")
    for name in _SIZES:
        if name in os.environ and not _SIZE(os.environ[name]):
            del os.environ[name]
    os.environ.setdefault("CLICKHOUSE_DRIVER_LASY_DATE_LUT", "true")
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    _open_closed_ones()
    out, sys.stdout = _replaced(sys.stdout, 1)
    err, sys.stderr = _replaced(sys.stderr, 2)
    if getattr(sys, "stdin", None) is None:  # it was closed
        sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False))
    return Streams(out, err)


def _open_closed_ones() -> None:
    """Open closed standard streams: the next file to be opened would be taken for one."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                opened = os.open(os.devnull, os.O_RDWR)
                if opened != number:
                    os.dup2(opened, number)
                    os.close(opened)


def _replaced(stream: TextIO | None, number: int) -> tuple[_Quiet, TextIO]:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    if stream is not None:
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    raw = _Quiet(number)
    return raw, io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=number == 2 or raw.isatty(),
    )


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Defer signals to end while a `with` block lasts, and deliver the first one after it.

    A native module may turn what a handler raises into an error of its own.
    """
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    handled: dict[int, Callable[[int, FrameType | None], object]] = {}
    if threading.current_thread() is threading.main_thread():
        for number in _ENDING:
            handler = signal.getsignal(number)
            if callable(handler):
                handled[number] = handler
                signal.signal(number, note)
    try:
        yield
    finally:
        for held, handler in handled.items():
            signal.signal(held, handler)
        for first in came[:1]:
            signal.raise_signal(first)


class Endings:
    """Turns the first signal to end into `Interrupted`, and the second into the end itself.

    A signal that is ignored from the start (`nohup`, `&` in a script) stays so.
    """

    def __init__(self) -> None:
        self._asked_at: float | None = None
        self._swallowed: BaseException | None = None
        self.last_words: Callable[[], None] = lambda: None
        """What is printed when the second signal ends the process at once."""

    def watch(self) -> None:
        """Handle the signals from now on.

        Where a signal arrives during a finalizer or a weak reference's callback, Python would
        print what the handler raises, and go on: it is raised once more a moment later.
        """
        sys.unraisablehook = self._note_unraisable
        signal.signal(signal.SIGALRM, self._raise_again)
        for number in _ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._end)

    def leave(self) -> None:
        """Ignore the signals from now on: everything is done and printed."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number in (*_ENDING, signal.SIGALRM):
            with contextlib.suppress(ValueError):
                signal.signal(number, signal.SIG_IGN)

    def _end(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
            message = INTERRUPTED
            if number != signal.SIGINT:
                name = signal.Signals(number).name
                message = message.replace("interrupted", f"ended by {name}", 1)
            raise Interrupted(message, hint=RUN_AGAIN)
        # A terminal and a calling script may both pass on the same signal.
        if now - self._asked_at > _SAME_REQUEST_SECONDS:
            self._end_now()

    def _note_unraisable(self, found: sys.UnraisableHookArgs) -> None:
        if isinstance(found.exc_value, KeyboardInterrupt):
            self._swallowed = found.exc_value
            signal.setitimer(signal.ITIMER_REAL, _RAISED_AGAIN_SECONDS)
        else:
            sys.__unraisablehook__(found)

    def _raise_again(self, number: int, frame: FrameType | None) -> None:
        if self._swallowed is not None:
            swallowed, self._swallowed = self._swallowed, None
            raise swallowed

    def _end_now(self) -> NoReturn:
        self.leave()
        try:
            with contextlib.suppress(Exception):
                if os.isatty(2):
                    os.write(2, _SHOW_CURSOR)
                self.last_words()
                sys.stdout.flush()
        finally:
            os._exit(Interrupted.exit_code)
