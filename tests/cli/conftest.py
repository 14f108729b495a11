"""Commands that fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.commandline import Account, Done, Target
from support.commands import assert_harmless
from support.outcomes import Cli


@pytest.fixture
def failed(api_key: Account) -> Callable[..., Any]:
    """Assert the contract's form of a failure; return its error and hint as one text."""

    def check(done: Done, code: int, command: str | None = None) -> str:
        assert done.code == code, done.err
        lines = done.err.splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        hints = [line for line in lines if line.startswith("hint: ")]
        assert (len(errors), len(hints)) == (1, 1)
        assert lines.index(hints[0]) == lines.index(errors[0]) + 1
        assert len(errors[0]) < 600
        assert_harmless(done, api_key)
        if command is not None:
            assert done.json == {
                "command": command,
                "status": "failed",
                "exit_code": code,
                "error": errors[0].removeprefix("error: "),
                "hint": hints[0].removeprefix("hint: "),
            }
        return f"{errors[0]}\n{hints[0]}"

    return check


@pytest.fixture
def migrated(cli: Cli, target: Target) -> Target:
    assert cli("migrate", url=target.url).code == 0
    return target
