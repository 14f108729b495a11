"""One disagreement between exchange and table."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from kalshi_fills.pipeline.content import Content


class Break(NamedTuple):
    """One disagreement between exchange and table."""

    kind: str
    """missing (exchange only), unexpected (table only) or mismatch (both, different content)."""
    scope: str
    """fill, order or position."""
    fill_id: str | None
    order_id: str | None
    market_ticker: str | None
    field: str | None
    exchange: str | None
    """What the exchange says; None where it knows nothing of it."""
    table: str | None
    """What the table says; None where it has nothing of it."""


def describe_fill(texts: Content) -> str:
    """Write a fill in a few words: 3.00 yes at 0.410000 (the price of its side) on its time."""
    price = texts[10] if texts[4] == "no" else texts[9]
    return f"{texts[11]} {texts[4]} at {price} on {texts[0]}"


def time_told(told: str | None) -> str:
    """Give the time at the end of a fill in words, as text that compares like times."""
    return (told or "").rpartition(" on ")[2]


def content_time(moment: datetime) -> str:
    """Write a time as contents do, so that texts of the same width compare like times."""
    return moment.isoformat(" ", "microseconds")[:26]
