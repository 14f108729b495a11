"""A file that runs change and collectors read: never half of it, and never lost."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import NoReturn

import pytest

from kalshi_fills.host import shared_file
from kalshi_fills.host.shared_file import change_shared


def test_readers_see_whole_texts_and_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "shared.prom"
    line = "x" * 5_000 + "\n"
    path.write_text(line)
    halves: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            text = path.read_text()
            if text.replace(line, ""):
                halves.append(text)

    def write() -> None:
        for _ in range(10):
            change_shared(path, lambda before: before + line)

    readers = [threading.Thread(target=read) for _ in range(100)]
    writers = [threading.Thread(target=write) for _ in range(3)]
    for thread in (*readers, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()
    assert not halves
    assert path.read_text() == line * 31
    assert sorted(os.listdir(tmp_path)) == ["shared.prom", "shared.prom.lock"]


def test_a_full_disk_leaves_the_old_text_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shared.prom"
    path.write_text("old")

    def full(new: Path, text: str) -> NoReturn:
        new.write_text(text[:1])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shared_file, "write_anew", full)
    with pytest.raises(OSError, match="No space left"):
        change_shared(path, lambda before: before + " and new")
    assert path.read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["shared.prom", "shared.prom.lock"]


def test_a_lock_that_is_held_for_too_long_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shared.prom"
    monkeypatch.setattr(shared_file, "_PATIENCE_SECONDS", 0.0)

    def change_again(before: str) -> str:
        with pytest.raises(TimeoutError):
            change_shared(path, str)
        return "new"

    change_shared(path, change_again)
    assert path.read_text() == "new"


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    path, other = tmp_path / "shared.prom", tmp_path / "other"
    other.write_text("")
    path.symlink_to(other)
    change_shared(path, lambda _: "new")
    assert other.read_text() == ""
    assert not path.is_symlink()
    assert path.read_text() == "new"
