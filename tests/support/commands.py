"""What every command's output is held to."""

from __future__ import annotations

import re

import pytest

from support.clickhouse_server import PASSWORD
from support.commandline import Account, Done

FAILURE_KEYS = {"command", "status", "exit_code", "error", "hint"}

server_only = pytest.mark.parametrize(
    "target", [pytest.param("server", marks=pytest.mark.server)], indirect=True
)


def assert_harmless(done: Done, api_key: Account) -> None:
    """Assert of both streams: no secret, no traceback, no colour."""
    shown = done.out + done.err
    pem = api_key.path.read_text()
    for secret in (PASSWORD, "hunter2", "PRIVATE KEY", pem.splitlines()[1]):
        assert secret not in shown
    assert not re.search(r"[A-Za-z0-9+/]{80,}", shown)
    assert "Traceback" not in shown
    assert "\x1b" not in shown
