"""Runs that died, and rows that somebody changed while a pass went on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kalshi_fills.practice.account import PracticeFill
from kalshi_fills.warehouse.client import Warehouse
from support.syncing import (
    Bench,
)


class Meddling:
    """A warehouse with which somebody meddles once, between the write and the comparison."""

    def __init__(self, real: Warehouse, meddle: Callable[[], None]) -> None:
        self.real = real
        self.meddle: Callable[[], None] | None = meddle

    def rows(self, sql: str, *asked: Any, **more: Any) -> list[tuple[Any, ...]]:
        if "digest_sum" in sql and self.meddle is not None:
            meddle, self.meddle = self.meddle, None
            meddle()
        return self.real.rows(sql, *asked, **more)

    def command(self, sql: str, params: Mapping[str, object] | None = None) -> None:
        self.real.command(sql, params)

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        self.real.insert(table, columns, rows)

    def insert_lines(
        self,
        lines: Sequence[str],
        payloads: Sequence[str],
        statement: str,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        self.real.insert_lines(lines, payloads, statement, params)

    def close(self) -> None:
        self.real.close()


def delete(bench: Bench, fill: PracticeFill) -> str:
    return (
        f"ALTER TABLE {bench.tables.name()} DELETE WHERE fill_id = '{fill.fill_id}' "
        "SETTINGS mutations_sync = 2"
    )
