"""Listings without any fill: an account that never traded and maintenance look alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from kalshi_fills.errors import ExchangeError
from kalshi_fills.exchange.decode import HISTORICAL, LIVE
from kalshi_fills.exchange.endpoints import FILLS_PATHS, Exchange, is_not_to_be_had
from kalshi_fills.pipeline.values import decode_item, event_time
from kalshi_fills.pipeline.window import Window

if TYPE_CHECKING:
    from kalshi_fills.reconcile.listed import Bounds, ListedFills
    from kalshi_fills.reconcile.reconciliation import Reconciliation


class TableFacts(NamedTuple):
    """What a comparison has to know of the table beforehand."""

    exists: bool
    is_today: bool
    """All tables are of today's schema."""
    has_rows_in_window: bool
    rows_of_sync: Callable[[Window], int]
    """Returns how many rows a range has, where a sync wrote some of the table's rows; else 0."""


def exclude_blank_listings(
    exchange: Exchange,
    listed: ListedFills,
    bounds: Bounds,
    facts: TableFacts,
    found: Reconciliation,
) -> bool:
    """Leave out what the exchange lists nothing at all of; return whether to go on.

    Where a tier lists not one fill, of any time, rows that a sync wrote are no proof that
    something is wrong.
    """
    if found.not_compared:  # positions are of any age
        return True
    found.not_compared = why_nothing_is_listed(exchange, listed, facts, found.compared)
    if found.not_compared:
        return not facts.rows_of_sync(found.compared)
    border, (start, end) = bounds.cutoff, found.compared
    if border is None:
        return True
    archived, live = Window(start, min(border, end)), Window(max(start or border, border), end)
    if _is_blank(exchange, HISTORICAL, archived, listed, facts, found.compared):
        found.compared = Window(min(border, end), end)
    elif _is_blank(exchange, LIVE, live, listed, facts, found.compared):
        found.compared = Window(start, border)
    else:
        return True
    side = "before" if found.compared.start != start else "from"
    found.blind.append(
        f"The exchange lists not one fill {side} {border:%Y-%m-%dT%H:%M:%SZ}, though a sync "
        "stored fills that it listed there: it may be in maintenance. That part was not compared, "
        "nor were orders and positions."
    )
    return True


def why_nothing_is_listed(
    exchange: Exchange, listed: ListedFills, facts: TableFacts, compared: Window
) -> str:
    """Return why nothing can be compared with a listing without any fill; empty where it can.

    Rows that no sync wrote can be compared: the exchange never sent them.
    """
    if sum(listed.items.values()):
        return ""
    if any(_lists_anything(exchange, tier, compared) for tier in (LIVE, HISTORICAL)):
        return ""
    if facts.is_today and facts.rows_of_sync(compared):
        return (
            "The exchange lists not one fill, though a sync stored fills that it listed: it is "
            "in maintenance, or the key is another account's."
        )
    if facts.has_rows_in_window:
        return ""
    return (
        "The exchange lists not one fill: an account that never traded and an exchange in "
        "maintenance look alike."
    )


def _is_blank(
    exchange: Exchange,
    tier: str,
    part: Window,
    listed: ListedFills,
    facts: TableFacts,
    compared: Window,
) -> bool:
    """Return whether a tier lists nothing, whatever its time, though a sync has stored some."""
    if listed.items[tier] or (part.start is not None and part.start >= part.end):
        return False
    return bool(facts.rows_of_sync(part)) and not _lists_anything(exchange, tier, compared)


def _lists_anything(exchange: Exchange, tier: str, compared: Window) -> bool:
    """Return whether a tier that listed nothing in the window lists what lies elsewhere.

    Asked without times it has a fill, if it works; one that lies in the very window that was
    listed as empty shows that it does not.
    """
    try:
        for items in exchange.walk(FILLS_PATHS[tier], {}, "fills"):
            if items:
                moments = (event_time(decode_item(item)) for item in items)
                return not any(moment and compared.holds(moment) for moment in moments)
    except ExchangeError as error:
        if tier != HISTORICAL or not is_not_to_be_had(error):
            raise
    return False
