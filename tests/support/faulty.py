"""Tables held to the truth after faults and kills."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from kalshi_fills.practice.account import PracticeAccount
from kalshi_fills.practice.exchange import Limits
from support.commandline import Done, Target
from support.syncing import (
    TRUTH_COLUMNS,
    truth,
)

UNLIMITED = Limits(refill_rate=1_000_000, bucket_capacity=1_000_000)

COLUMNS = f"{TRUTH_COLUMNS}, raw_json, price, fee"
"""Every column that follows from the account."""


def disagreements(
    held: Iterable[tuple[Any, ...]], account: PracticeAccount, cutoff: datetime | None = None
) -> list[str]:
    """Return in what the table's rows, by COLUMNS, differ from the account's fills.

    Nothing is left to chance: an id too few, an id too many, a second row of an id, and each column
    that differs, with both values.
    """
    texts = {
        (fill.fill_id, fill.order_id): fill.payload_json(account.era_of(fill))
        for fill in account.fills
    }
    expected = {
        row[:2]: (*row, texts[row[:2]], float(row[8]) / 100, float(row[12] or 0))
        for row in truth(account, cutoff)
    }
    names = COLUMNS.split(", ")
    found: list[str] = []
    rows: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for row in held:
        if row[:2] in rows:
            found.append(f"twice: {row[:2]}")
        rows[row[:2]] = row
    found += [f"missing: {key}" for key in expected.keys() - rows.keys()]
    found += [f"unexpected: {key}" for key in rows.keys() - expected.keys()]
    for key in expected.keys() & rows.keys():
        found += [
            f"{key}: {name} is {is_!r}, must be {must!r}"
            for name, is_, must in zip(names, rows[key], expected[key], strict=True)
            if is_ != must
        ]
    return found


def assert_the_truth(
    held: Iterable[tuple[Any, ...]], account: PracticeAccount, cutoff: datetime | None = None
) -> None:
    found = disagreements(held, account, cutoff)
    assert found[:5] == []


def stored(target: Target) -> list[tuple[Any, ...]]:
    return target.read(f"SELECT {COLUMNS} FROM DB.mm_fills FINAL")


def assert_failed(done: Done, code: int) -> str:
    """Assert that a command printed one sentence and one hint; return both."""
    assert done.code == code, done.err
    assert "Traceback" not in done.err
    told = [line for line in done.err.splitlines() if re.match("(error|hint): .", line)]
    assert [line.split(":")[0] for line in told] == ["error", "hint"]
    return "\n".join(told)
