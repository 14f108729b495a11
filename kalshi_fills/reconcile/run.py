"""The exchange against the table for a window, leg by leg.

Each leg works in memory that does not grow with the account:

    fills      digests per hour first, ids only where an hour differs
    orders     contracts and fees of the table's fills, against what each order says
    positions  what all fills of a market add up to, against what is held
    settled    what all fills of a market add up to, against what was settled

A disagreement is listed once: an order, a position or a settled market that differs only because a
fill does is not repeated as a break of its own. Reads both sides, and repairs nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from kalshi_fills.pipeline.window import Window
from kalshi_fills.reconcile.attribution import attribute
from kalshi_fills.reconcile.blank import TableFacts, exclude_blank_listings, why_nothing_is_listed
from kalshi_fills.reconcile.breaks import MAX_BREAKS
from kalshi_fills.reconcile.evidence import explain_by_exchange, explain_by_table
from kalshi_fills.reconcile.listed import Accepted, Bounds, ListedFills, Say, read_window
from kalshi_fills.reconcile.orders import (
    compare_order_rows,
    compare_orders,
    read_orders_ahead,
)
from kalshi_fills.reconcile.positions import (
    PrimaryPositions,
    compare_positions,
    read_primary_positions,
)
from kalshi_fills.reconcile.reconciliation import LARGE_LAG, Reconciliation
from kalshi_fills.reconcile.settled import SettledMarkets
from kalshi_fills.reconcile.settlements import compare_settlements
from kalshi_fills.reconcile.window import compare_window

if TYPE_CHECKING:
    from kalshi_fills.reconcile.lookups import TableLookups
    from kalshi_fills.reconcile.reader import ExchangeReader
    from kalshi_fills.warehouse.store import FillStore

_LAG_WITHOUT_AS_OF: Final = timedelta(minutes=15)


class ExchangeRead(NamedTuple):
    """What was read of the exchange before anything is compared."""

    window: Window
    """The range that was asked for."""
    found: Reconciliation
    """What is to be compared; nothing was found so far."""
    primary: PrimaryPositions
    listed: ListedFills


def read_exchange(
    reader: ExchangeReader,
    accepted: Accepted,
    window: Window,
    now: datetime,
    say: Say,
    *,
    is_today: bool,
) -> ExchangeRead:
    """Read what the exchange lists for a window; the table is not needed for that.

    Args:
        reader: the account.
        accepted: knows what the operator accepted; called only where there are claims.
        window: the range that is compared.
        now: when the comparison began.
        say: is called with what goes on.
        is_today: all tables are of today's schema.

    Raises:
        ExchangeError: the exchange could not be asked.
    """
    found = _begin(window, reader.exchange.as_of(), now)
    primary = read_primary_positions(reader.exchange)
    found.restricted = primary.restricted
    listed = read_window(reader, accepted, found, say, is_today=is_today)
    return ExchangeRead(window, found, primary, listed)


def reconcile(
    read: ExchangeRead,
    reader: ExchangeReader,
    store: FillStore,
    lookups: TableLookups,
    facts: TableFacts,
    pending_from: datetime | None,
    now: datetime,
    say: Say,
) -> Reconciliation:
    """Compare what was read of the exchange with the table.

    Args:
        read: what the exchange lists for the window.
        reader: the account.
        store: the tables.
        lookups: what else is looked up in the fills table, for the window.
        facts: what is known of the table beforehand.
        pending_from: the event time from which on a fill need not be in the table yet.
        now: when the comparison began.
        say: is called with what goes on.

    Raises:
        ExchangeError: the exchange could not be asked.
        WarehouseError: the tables could not be read.
    """
    exchange = reader.exchange
    _, found, primary, listed = read
    if not facts.is_today:
        found.settled = SettledMarkets(skipped="the table has to be migrated first")
        found.not_compared = found.not_compared or why_nothing_is_listed(
            exchange, listed, facts, found.compared
        )
        compare_order_rows(lookups if facts.exists else None, listed, found)
        found.notes.append(
            "Orders and positions were not compared: the table has to be migrated first."
        )
        return found
    asked_for = found.compared
    bounds = Bounds(found.compared, found.complete_until, pending_from, reader.cutoff)
    if exclude_blank_listings(exchange, listed, bounds, facts, found):
        bounds = bounds._replace(compared=found.compared)
        orders = read_orders_ahead(exchange, found.compared)
        say("comparing fills")
        compare_window(reader, store, listed, bounds, found)
        if found.more_breaks:
            found.notes.append(
                f"More than {MAX_BREAKS:,} fills differ; orders and positions were not compared."
            )
        elif found.compared == asked_for:
            say("comparing orders")
            compare_orders(orders, reader, store, lookups, listed, bounds, found, now)
            say("comparing positions")
            compare_positions(reader, store, lookups, listed, bounds, found, primary)
        found.by_writer = attribute(
            found.breaks, lookups, lambda key: listed.holds(key) or reader.met(key)
        )
    say("comparing settled markets")
    settled = compare_settlements(reader, lookups, listed, bounds, read.window)
    if found.not_compared or found.restricted or found.compared != asked_for:
        # Nothing may be listed for other reasons than that it is not there.
        explain_by_table(settled, lookups)
    else:
        explain_by_exchange(settled, lookups, reader, listed, bounds, found)
    found.settled = settled
    found.proven.settled_markets = found.settled.agreeing
    return found


def _begin(window: Window, as_of: datetime | None, now: datetime) -> Reconciliation:
    """Return what is compared: the window, as far as the exchange calls its data complete."""
    current_until = as_of or now - _LAG_WITHOUT_AS_OF
    start = window.start
    asked = Window(start, min(window.end, max(now, current_until)))
    end = min(asked.end, current_until)
    compared = Window(start, end if start is None else max(end, start))
    found = Reconciliation(compared, asked, current_until)
    if as_of is not None and now - as_of > LARGE_LAG:
        found.notes.append(
            f"The exchange calls its data complete up to {as_of:%Y-%m-%dT%H:%M:%SZ} only, "
            f"{_age(now - as_of)} behind the clock."
        )
    if start is not None and end <= start:
        found.not_compared = (
            f"The exchange calls its data complete up to {end:%Y-%m-%dT%H:%M:%SZ} only, and "
            "the window begins after that."
        )
    elif end < asked.end:
        found.notes.append(
            f"Compared up to {end:%Y-%m-%dT%H:%M:%SZ}: the exchange does not call newer data "
            "complete yet."
        )
    return found


def _age(lag: timedelta) -> str:
    hours = lag / timedelta(hours=1)
    return f"{hours:,.0f} hours" if hours >= 2 else f"{hours * 60:,.0f} minutes"
