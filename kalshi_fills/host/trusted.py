"""Files and folders that are safe to use: of the right owner, kind and permissions.

What others can write can turn this process against its user: a `.env` can name another exchange, a
folder of the engine can bring code with it, a link in place of a lock file can lead a write
elsewhere. Files are opened without waiting, and refused if they are not ordinary files.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

LARGEST_FILE: Final = 1 << 20
"""Bytes of the largest key or env file that is read."""

_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


class Untrusted(Exception):
    """A file or folder cannot be used; `why` ends the sentence that begins with its name."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint


def read_file(path: Path, *, follow_links: bool = True, largest: int = LARGEST_FILE) -> bytes:
    """Return the bytes of an ordinary file, without ever waiting for it.

    Raises:
        OSError: it cannot be opened or read.
        Untrusted: it is a folder, a pipe or a device, or larger than `largest` bytes.
    """
    _require_ordinary(os.stat(path, follow_symlinks=follow_links), largest)
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    handle = os.open(path, flags if follow_links else flags | os.O_NOFOLLOW)
    with open(handle, "rb") as file:
        _require_ordinary(os.fstat(handle), largest)
        text = file.read(largest + 1)
    if len(text) > largest:  # it grows, or reports no size, as files in /proc do
        raise _too_large(largest)
    return text


def write_anew(path: Path, text: str) -> None:
    """Write a small file in a folder of this tool, in place of whatever has its name, even a link.

    Raises:
        OSError: it cannot be written.
    """
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def make_private_folder(folder: Path) -> None:
    """Make a folder and the missing ones above it, each for its owner alone whatever the umask.

    Raises:
        OSError: one of them cannot be made, or the name is a file's.
    """
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_private_folder(folder.parent)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:  # another run made it meanwhile, or it is a file
        if not folder.is_dir():
            raise
        return
    folder.chmod(0o700)


def absolute(place: Callable[[], str]) -> Path | None:
    """Return a folder of this user, or None where there is no home folder to look for it in."""
    try:
        folder = Path(place())
    except RuntimeError:
        return None
    return folder if folder.is_absolute() else None


def require_own(path: Path) -> None:
    """Check a file that the operator did not name: it is this user's or root's, for them to write.

    Raises:
        OSError: it cannot be looked at.
        Untrusted: it belongs to somebody else, or others can write it.
    """
    for found in (os.lstat(path), os.stat(path)):
        _require_owner(found)
    if os.stat(path).st_mode & _OTHERS:
        raise Untrusted("can be written by other users", f"look at it, then: chmod go-w {path}")


def require_own_folder(folder: Path) -> None:
    """Check a folder whose every file this process trusts; one that does not exist passes.

    Raises:
        OSError: it cannot be looked at.
        Untrusted: it belongs to somebody else than this user or root, or everybody can write it.
    """
    with contextlib.suppress(FileNotFoundError):
        for found in (os.lstat(folder), os.stat(folder)):
            _require_owner(found)
        require_not_for_everybody(folder)


def require_not_for_everybody(path: Path) -> None:
    """Check a file or folder that the operator named; one that does not exist passes.

    Pipes and devices pass as well: `read_file` refuses them as what they are. Nobody is advised to
    change the rights of a folder that is meant to be shared, such as /tmp.

    Raises:
        OSError: it cannot be looked at.
        Untrusted: everybody can write it.
    """
    with contextlib.suppress(FileNotFoundError):
        mode = os.stat(path).st_mode
        if not mode & stat.S_IWOTH or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            return
        shared = stat.S_ISDIR(mode) and mode & stat.S_ISVTX
        raise Untrusted(
            "can be written by everybody",
            "name a folder of your own inside it"
            if shared
            else f"look at what is in it, then: chmod o-w {path}",
        )


def _require_owner(found: os.stat_result) -> None:
    if found.st_uid not in (os.geteuid(), 0):
        raise Untrusted(
            f"belongs to another user (uid {found.st_uid})",
            "run it as that user, or use one of your own",
        )


def _require_ordinary(found: os.stat_result, largest: int) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise Untrusted("cannot be read: it is a directory", "name a file")
    if not stat.S_ISREG(found.st_mode):
        raise Untrusted("cannot be read: it is a pipe or a device", "name an ordinary file")
    if found.st_size > largest:
        raise _too_large(largest)


def _too_large(largest: int) -> Untrusted:
    return Untrusted(f"cannot be read: it is larger than {largest:,} bytes", "name another file")
