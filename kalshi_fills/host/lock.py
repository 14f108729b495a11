"""One run at a time: a lock of the operating system for each table, freed however a run ends.

The lock folder is for this user alone, and its files are opened without following links.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import filelock
import platformdirs

from kalshi_fills.errors import LockedError, SettingsError
from kalshi_fills.host.printable import visible
from kalshi_fills.host.trusted import (
    Untrusted,
    absolute,
    make_private_folder,
    read_file,
    require_not_for_everybody,
    require_own_folder,
    write_anew,
)


@contextlib.contextmanager
def exclusive(target: str, table: str) -> Iterator[None]:
    """Take the lock of one table of one ClickHouse for as long as the block runs.

    Args:
        target: the ClickHouse, under one name however its URL is spelled.
        table: the fills table's qualified name.

    Raises:
        LockedError: another run holds it.
        SettingsError: the lock folder cannot be made, written or trusted.
    """
    folder = _folder()
    name = hashlib.sha256(f"{target}\n{table}".encode()).hexdigest()[:16]
    owner = folder / f"{name}.pid"
    lock = filelock.FileLock(folder / f"{name}.lock", mode=0o600)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        pid = _process(owner)
        raise LockedError(
            f"another run{f' (process {pid})' if pid else ''} is at work on {table}",
            hint="wait for it to end; its lock goes with it, however it ends",
        ) from None
    except (OSError, NotImplementedError) as error:
        raise _unusable(folder, error) from error
    try:
        try:
            write_anew(owner, f"{os.getpid()}\n")
        except OSError as error:
            raise _unusable(folder, error) from error
        yield
    finally:
        lock.release()


def _folder() -> Path:
    """Return the lock folder, made for this user alone where it is missing."""
    state = absolute(lambda: platformdirs.user_state_dir("kalshi-fills", appauthor=False))
    if state is None:
        raise SettingsError(
            "the place of the lock folder is not known",
            hint="set HOME, or XDG_STATE_HOME to the full path of a folder that can be written",
        )
    folder = state / "locks"
    try:
        require_not_for_everybody(state.parent)
        make_private_folder(folder)
        for ours in (state, folder):
            require_own_folder(ours)
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(0o700)
    except Untrusted as error:
        raise SettingsError(
            f"the lock folder {visible(str(folder))}, or one above it, {error.why}",
            hint=f"{error.hint}; or set XDG_STATE_HOME to a folder of yours",
        ) from None
    except OSError as error:
        raise _unusable(folder, error) from error
    return folder


def _unusable(folder: Path, error: Exception) -> SettingsError:
    why = (getattr(error, "strerror", None) or "its file system has no locks").lower()
    return SettingsError(
        f"the lock folder {visible(str(folder))} cannot be used: {why}",
        hint="mend it (remove what is no lock file, free some space), or set XDG_STATE_HOME to a "
        "folder that can be written",
    )


def _process(owner: Path) -> str:
    """Return the id of the process that has a lock, empty if its file does not have it."""
    try:
        text = read_file(owner, follow_links=False, largest=32).decode("ascii").strip()
    except (OSError, ValueError, Untrusted):
        return ""
    return text if text.isdigit() else ""
