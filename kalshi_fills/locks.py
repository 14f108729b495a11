"""One run at a time: an operating-system lock per table on this host, freed by any death."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import filelock
import platformdirs

from kalshi_fills.errors import LockedError


@contextlib.contextmanager
def exclusive(target: str, table: str) -> Iterator[None]:
    """Hold the lock of one table of one ClickHouse for the length of the block.

    Args:
        target: the ClickHouse, named in one way however its URL spells it.
        table: the fills table's qualified name.

    Raises:
        LockedError: another run holds it.
    """
    folder = Path(platformdirs.user_state_dir("kalshi-fills", appauthor=False)) / "locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LockedError(
            f"the lock folder {folder} cannot be made: {error.strerror}",
            hint="make it writable, or set XDG_STATE_HOME to a folder that is",
        ) from error
    name = hashlib.sha256(f"{target}\n{table}".encode()).hexdigest()[:16]
    owner = folder / f"{name}.pid"
    lock = filelock.FileLock(folder / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        pid = ""
        with contextlib.suppress(OSError):
            pid = owner.read_text().strip()
        raise LockedError(
            f"another run{f' (process {pid})' if pid else ''} is at work on {table}",
            hint="wait for it to end; its lock goes with it, however it ends",
        ) from None
    try:
        owner.write_text(f"{os.getpid()}\n")
        yield
    finally:
        lock.release()
