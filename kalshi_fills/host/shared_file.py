"""A small file that several runs change and others read at any time, whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import filelock

from kalshi_fills.host.trusted import read_file, write_anew

_PATIENCE_SECONDS: Final = 10.0

_FOR_EVERYBODY_TO_READ: Final = 0o644


def change_shared(path: Path, change: Callable[[str], str]) -> None:
    """Replace a file by what `change` makes of its text, under a lock in the file beside it.

    The text of a file that does not exist is empty. Readers see the old file or the new one.

    Raises:
        OSError: the file cannot be read or written, or its lock is held for too long.
        Untrusted: it is no ordinary file, or too large.
        UnicodeDecodeError: it is no text.
    """
    os.stat(f"{path.parent}/")  # the lock would make the folder
    lock = filelock.FileLock(path.with_name(f"{path.name}.lock"), mode=0o600)
    try:
        lock.acquire(timeout=_PATIENCE_SECONDS)
    except filelock.Timeout:
        raise TimeoutError(errno.ETIMEDOUT, "another run holds its lock") from None
    except NotImplementedError:
        raise OSError(errno.ENOLCK, "its file system has no locks") from None
    try:
        before = ""
        with contextlib.suppress(FileNotFoundError):
            before = read_file(path).decode()
        _replace(path, change(before))
    finally:
        lock.release()


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.new")  # a collector reads names that end in .prom
    try:
        write_anew(new, text)
        new.chmod(_FOR_EVERYBODY_TO_READ)
        os.replace(new, path)
    finally:
        with contextlib.suppress(OSError):
            new.unlink()
