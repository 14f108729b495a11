"""Mistakes of an operator, as the settings raise them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kalshi_fills.errors import SettingsError


def mistake(act: Callable[[], object]) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        act()
    error = caught.value
    assert error.exit_code == 2
    assert error.message
    assert error.hint
    assert "\n" not in error.message + error.hint
    return error
