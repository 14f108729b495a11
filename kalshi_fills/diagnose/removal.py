"""The statement that removes fills by hand, which no command of the tool does."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kalshi_fills.pipeline.fills import FillKey
    from kalshi_fills.warehouse.statements import Tables

_NAMED_IN_STATEMENT: Final = 50


def start_over_or_delete(tables: Tables, keys: Sequence[FillKey]) -> str:
    """Return what removes these fills for good: a statement to run by hand, if they are few.

    Args:
        tables: where they are.
        keys: fills that the exchange does not list, which truncate cannot tell from others.
    """
    if len(keys) > _NAMED_IN_STATEMENT:
        return "kalshi-fills truncate"
    pairs = ", ".join(
        f"({fill_id}, {order_id})"
        for key in keys
        for fill_id in _spellings(key.fill_id)
        for order_id in _spellings(key.order_id)
    )
    return (
        f"by hand: ALTER TABLE {tables.name()} DELETE WHERE (fill_id, exchange_order_id) IN "
        f"({pairs}) SETTINGS mutations_sync = 2"
    )


def _spellings(text: str) -> list[str]:
    """Return a text as SQL; where it may stand for bytes that are no UTF-8, as those, too."""
    parts = re.split(r"(\\x[0-9a-f]{2})", text)
    as_bytes = [
        part if index % 2 else "".join(map(_spelled, part)) for index, part in enumerate(parts)
    ]
    return list(dict.fromkeys((quoted(text), f"'{''.join(as_bytes)}'")))


def quoted(text: str) -> str:
    """Return a text quoted for SQL; what cannot be seen is spelled out, byte by byte."""
    return "'" + "".join(map(_spelled, text)) + "'"


def _spelled(letter: str) -> str:
    if letter in "\\'":
        return f"\\{letter}"
    if letter.isprintable():
        return letter
    return "".join(f"\\x{byte:02X}" for byte in letter.encode("utf-8", "surrogatepass"))
