"""When what a pass has gathered is enough for a block."""

from __future__ import annotations

import pytest
from support.syncing import NOW

from kalshi_fills.sync import intake as module
from kalshi_fills.sync.intake import Intake


def test_what_was_gathered_for_long_is_enough_however_little_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: seconds[0])
    intake = Intake(NOW, {})
    seconds[0] = 100.39
    assert not intake.has_enough
    seconds[0] = 100.41
    assert intake.has_enough
    intake.next_block()
    assert not intake.has_enough
    assert not intake.is_full
