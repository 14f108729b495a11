"""Values of every type that both engines must keep exactly."""

from __future__ import annotations

from kalshi_fills.errors import WarehouseError
from support.clickhouse_server import PASSWORD


def assert_one_sentence(error: WarehouseError) -> None:
    assert error.hint
    for text in (error.message, error.hint):
        assert "\n" not in text
        assert len(text) < 450
    for noise in ("Stack trace", "DB::", "0x", "Traceback", PASSWORD):
        assert noise not in error.message
