"""The exchange against the table for a window: by fill, by order, by position.

Each leg works in memory that does not grow with the account:

    fills      digests per hour first, ids only where an hour differs
    orders     contracts and fees of the table's fills, against what each order says
    positions  what all fills of a market add up to, against what is held

A disagreement is named once: an order or a position that differs only because a fill does is not
repeated as a break of its own. Reads both sides, and repairs nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import chain
from typing import Final

from kalshi_fills.errors import ExchangeError
from kalshi_fills.exchange.client import FILLS_PATHS, Exchange
from kalshi_fills.exchange.decode import HISTORICAL, LIVE, Page
from kalshi_fills.exchange.endpoints import (
    Listed,
    Order,
    Position,
    is_not_to_be_had,
    is_restricted,
    orders,
    positions,
)
from kalshi_fills.pipeline.content import (
    CONTENT_FIELDS,
    Content,
    content,
    digest,
    key_hash,
    time_of,
)
from kalshi_fills.pipeline.fills import EARLIEST_FILL, Fill, FillKey, Rejected
from kalshi_fills.pipeline.parse import event_time
from kalshi_fills.pipeline.seen import Expected, Seen
from kalshi_fills.pipeline.stages import Counts, sort_items
from kalshi_fills.pipeline.window import Window
from kalshi_fills.reconcile.attribution import Attribution, attribute
from kalshi_fills.reconcile.breaks import Break
from kalshi_fills.reconcile.fills import by_key, compare, compare_fills
from kalshi_fills.reconcile.orders import OrderOutcome, OrderReader, compare_orders
from kalshi_fills.reconcile.positions import MarketPosition, sum_up
from kalshi_fills.reconcile.survey import Survey
from kalshi_fills.warehouse.fills import FillStore

MAX_BREAKS: Final = 10_000
"""Breaks that are named; what is beyond is said to be more."""

LARGE_LAG: Final = timedelta(hours=1)
"""A window that is cut short by more than this, or data that are older, must be told."""

Say = Callable[[str], None]

Clock = Callable[[], datetime]

_LAG_WITHOUT_AS_OF: Final = timedelta(minutes=15)

_LOOKED_AT_AGAIN: Final = 200

_LOOKED_UP_AT_ONCE: Final = 1_000

_ORDERS_AT_ONCE: Final = 20_000

_STRANGE_LOOKED_UP: Final = 20

_MARKETS_SOUGHT: Final = 50

_ORDERS_LEAVE_LIVE_AFTER: Final = timedelta(days=14)

_SUBACCOUNT: Final = CONTENT_FIELDS.index("subaccount_number")

_FILL_ID: Final = CONTENT_FIELDS.index("fill_id")

_ORDER_ID: Final = CONTENT_FIELDS.index("exchange_order_id")


@dataclass(slots=True)
class Compared:
    """What was compared with the exchange, and agrees."""

    fills: int = 0
    """Fills of the exchange that were held against the table, one by one."""
    contracts: Decimal = Decimal(0)
    fees_dollars: Decimal = Decimal(0)
    """Of those fills whose fee the exchange tells."""
    orders: int = 0
    """Orders whose contracts and fees are those of all their fills in the table."""
    positions: int = 0
    """Positions that are what all fills in the table add up to."""
    settled_markets: int = 0

    def add(self, fill: Fill) -> None:
        """Count a fill in."""
        self.fills += 1
        self.contracts += fill.contracts
        self.fees_dollars += fill.fee_dollars or 0

    def remove(self, fill: Fill) -> None:
        """Take a fill out that was counted in."""
        self.fills -= 1
        self.contracts -= fill.contracts
        self.fees_dollars -= fill.fee_dollars or 0

    def as_dict(self) -> dict[str, int | str]:
        """Return what was compared by name, money as canonical text."""
        return {
            "fills": self.fills,
            "contracts": f"{self.contracts:.2f}",
            "fees_dollars": f"{self.fees_dollars:.6f}",
            "orders": self.orders,
            "positions": self.positions,
            "settled_markets": self.settled_markets,
        }


@dataclass(slots=True)
class Sides:
    """What the comparison with the exchange found."""

    compared: Window
    asked: Window
    """The window that was asked for, as far as it has passed."""
    complete_until: datetime
    """Up to when the exchange calls its data complete."""
    proven: Compared = field(default_factory=Compared)
    not_compared: str = ""
    """Why nothing could be compared; empty where something was."""
    blind: list[str] = field(default_factory=list)
    """What else could not be compared, a sentence each."""
    exchange_fills: int = 0
    table_rows: int = 0
    pending: int = 0
    """Fills that the table lacks and need not have yet: no finished sync has read that far."""
    pending_orders: int = 0
    """Orders that differ by what may still come."""
    hidden: int = 0
    """Rows of subaccounts that the key does not see."""
    restricted: bool = False
    claims: int = 0
    """Items that the exchange sends now, that claim to be fills and were not accepted."""
    breaks: list[Break] = field(default_factory=list)
    more_breaks: bool = False
    notes: list[str] = field(default_factory=list)
    hours: dict[datetime, int] = field(default_factory=dict)
    by_writer: Attribution = field(default_factory=Attribution)
    """Who wrote the rows of the breaks."""
    differs_since: datetime | None = None
    """No fill older than this is known to differ; None if none does."""

    @property
    def cut_short_by(self) -> timedelta:
        """Return how much of the window that was asked for was not compared."""
        at_the_start = timedelta(0)
        if self.compared.start is not None:
            at_the_start = self.compared.start - (self.asked.start or EARLIEST_FILL)
        return at_the_start + max(self.asked.end - self.compared.end, timedelta(0))

    @property
    def every_fill_agrees(self) -> bool:
        """Return whether each fill of the window was compared and found right, and none hides."""
        return not (
            self.not_compared
            or self.of("fill")
            or self.more_breaks
            or self.restricted
            or self.cut_short_by > LARGE_LAG
        ) and bool(self.proven.fills)

    def note_difference(self, moment: datetime | None) -> None:
        """Note when a fill was traded that differs."""
        if moment is not None:
            self.differs_since = min(moment, self.differs_since or moment)

    def of(self, scope: str, kind: str = "") -> list[Break]:
        """Give the breaks of one scope, of one kind or any."""
        return [one for one in self.breaks if one.scope == scope and kind in ("", one.kind)]


class _OrdersFound:
    """Which orders were compared: one may be listed more than once, in both tiers."""

    def __init__(self) -> None:
        self.agreeing = Seen()
        self.differing: set[str] = set()

    def has(self, order_id: str) -> bool:
        """Return whether an order was compared."""
        return order_id in self.differing or _order_hash(order_id) in self.agreeing

    def take(self, outcome: OrderOutcome) -> bool:
        """Note what came of an order; return whether it differs and did not before."""
        order_id = outcome.order.order_id
        if outcome.agrees:
            self.agreeing.put(_order_hash(order_id), 0)
            return False
        new = order_id not in self.differing
        self.differing.add(order_id)
        return new


def _order_hash(order_id: str) -> int:
    return key_hash(FillKey("", order_id))


class Comparison:
    """The exchange against the table, leg by leg; made for one run."""

    def __init__(
        self,
        exchange: Exchange,
        store: FillStore,
        survey: Survey,
        window: Window,
        now: datetime,
        clock: Clock,
        say: Say,
    ) -> None:
        self._exchange = exchange
        self._store = store
        self._survey = survey
        self._window = window
        self._clock = clock
        self._now = now
        self._say = say
        self._seen = Seen()
        self._seen_elsewhere = Seen()
        """Fills that orders or markets were asked for, of any age."""
        self._expected = Expected()
        self._subaccounts: set[str] = set()
        self._of_orders: Counter[str] = Counter()
        self._items: Counter[str] = Counter()
        self._a_fill: Fill | None = None
        self._compared = window
        self._cutoff: datetime | None = None
        self._current_until = self._now
        self._pending_from = survey.pending_from(self._now)
        self._looked_at_again = 0
        self._positions_listed = Listed()
        self._positions_refused = ""

    def run(self) -> Sides:
        """Compare.

        Raises:
            ExchangeError: the exchange could not be asked.
            WarehouseError: the tables could not be read.
        """
        exchange = self._exchange
        exchange.learn_limits()
        self._cutoff = exchange.cutoff()
        sides = self._begin()
        self._compared = sides.compared
        first_positions = self._first_positions(sides)
        self._walk(sides)
        if not self._survey.is_today:
            sides.not_compared = sides.not_compared or self._why_nothing_is_listed(sides.compared)
            self._compare_orders_by_rows(sides)
            sides.notes.append(
                "Orders and positions were not compared: the table has to be migrated first."
            )
            return sides
        compared = sides.compared
        if not self._exclude_blank_listings(sides):
            return sides
        self._compared = sides.compared
        self._compare_fills(sides)
        if sides.more_breaks:
            sides.notes.append(
                f"More than {MAX_BREAKS:,} fills differ; orders and positions were not compared."
            )
        elif sides.compared == compared:
            self._say("comparing orders")
            self._compare_orders(sides)
            self._compare_positions(sides, first_positions)
        sides.by_writer = attribute(sides.breaks, self._survey.evidence, self._is_listed)
        return sides

    def _begin(self) -> Sides:
        """Return what is compared: the window, as far as the exchange calls its data complete."""
        told = self._exchange.as_of()
        self._current_until = told or self._now - _LAG_WITHOUT_AS_OF
        start = self._window.start
        asked = Window(start, min(self._window.end, max(self._now, self._current_until)))
        end = min(asked.end, self._current_until)
        compared = Window(start, end if start is None else max(end, start))
        sides = Sides(compared, asked, self._current_until)
        if told is not None and self._now - told > LARGE_LAG:
            sides.notes.append(
                f"The exchange calls its data complete up to {told:%Y-%m-%dT%H:%M:%SZ} only, "
                f"{_hours_told(self._now - told)} behind the clock."
            )
        if start is not None and end <= start:
            sides.not_compared = (
                f"The exchange calls its data complete up to {end:%Y-%m-%dT%H:%M:%SZ} only, and "
                "the window begins after that."
            )
        elif end < asked.end:
            sides.notes.append(
                f"Compared up to {end:%Y-%m-%dT%H:%M:%SZ}: what is newer, the exchange does not "
                "call complete yet."
            )
        return sides

    def _first_positions(self, sides: Sides) -> list[Position]:
        """Ask for the primary subaccount's positions: a restricted key is refused them."""
        try:
            pages = positions(self._exchange, 0, self._positions_listed)
            return [one for page in pages for one in page]
        except ExchangeError as error:
            if is_restricted(error):
                sides.restricted = True
            elif is_not_to_be_had(error):
                self._positions_refused = error.message
            else:
                raise
            return []

    def _walk(self, sides: Sides) -> None:
        claims: set[str] = set()
        for page in self._exchange.fills(sides.compared):
            self._items[page.tier] += len(page.items)
            kept, rejected = sort_items(page.items, page.tier, self._clock(), Counts())
            for fill in kept:
                self._meet(sides, fill)
            sides.claims += self._unaccepted(rejected, claims)
            self._say(f"reading the exchange's fills: {sides.exchange_fills:,}")
        sides.hours = {hour: held.fills for hour, held in self._expected.hours.items()}

    def _meet(self, sides: Sides, fill: Fill) -> None:
        if not sides.compared.holds(fill.executed_at):
            return
        texts = content(fill)
        if self._seen.put(key_hash(fill.key), 0) is not None:
            return
        sides.exchange_fills += 1
        self._a_fill = fill  # in the end the oldest, mostly
        if self._survey.is_today:
            sides.proven.add(fill)
        self._expected.add(fill.executed_at, digest(texts))
        self._subaccounts.add(texts[_SUBACCOUNT])
        if not self._survey.is_today:
            self._of_orders[fill.order_id] += 1

    def _unaccepted(self, rejected: list[Rejected], met: set[str]) -> int:
        """Count what claims to be a fill, was not accepted, and was not met before."""
        new = {item.fingerprint: item for item in rejected if item.claims_fill}
        claiming = [item for fingerprint, item in new.items() if fingerprint not in met]
        if len(met) < MAX_BREAKS:
            met.update(new)
        if not claiming:
            return 0
        accepted = self._store.accepted(claiming) if self._survey.is_today else set()
        return sum(item.fingerprint not in accepted for item in claiming)

    def _exclude_blank_listings(self, sides: Sides) -> bool:
        """Leave out what the exchange lists nothing at all of; return whether to go on.

        An account without fills and an exchange in maintenance look alike. Where a tier lists not
        one fill, of any time, rows that a sync wrote are no proof that something is wrong.
        """
        if sides.not_compared:  # positions are of any age
            return True
        sides.not_compared = self._why_nothing_is_listed(sides.compared)
        if sides.not_compared:
            return not self._rows_of_sync(sides.compared)
        border, (start, end) = self._cutoff, sides.compared
        if border is None:
            return True
        if self._is_blank(HISTORICAL, Window(start, min(border, end))):
            sides.compared = Window(min(border, end), end)
        elif self._is_blank(LIVE, Window(max(start or border, border), end)):
            sides.compared = Window(start, border)
        else:
            return True
        sides.blind.append(
            "The exchange lists not one fill on "
            f"{'this' if sides.compared.start == start else 'the far'} side of "
            f"{border:%Y-%m-%dT%H:%M:%SZ}, though a sync stored some that it listed: it may be in "
            "maintenance. That part was not compared, nor were orders and positions."
        )
        return True

    def _why_nothing_is_listed(self, compared: Window) -> str:
        """Return why nothing can be compared with a listing without any fill; empty where it can.

        What no sync wrote can: the exchange never sent it.
        """
        if sum(self._items.values()) or any(map(self._lists_anything, (LIVE, HISTORICAL))):
            return ""
        if self._survey.is_today and self._rows_of_sync(compared):
            return (
                "The exchange lists not one fill, though a sync stored fills that it listed: it is "
                "in maintenance, or the key is another account's."
            )
        if any(one.rows for one in self._survey.profile if one.against_window == "in"):
            return ""
        return (
            "The exchange lists not one fill: an account that never traded and an exchange in "
            "maintenance look alike."
        )

    def _is_blank(self, tier: str, part: Window) -> bool:
        """Return whether a tier lists nothing, whatever its time, though a sync has stored some."""
        if self._items[tier] or (part.start is not None and part.start >= part.end):
            return False
        return bool(self._rows_of_sync(part)) and not self._lists_anything(tier)

    def _lists_anything(self, tier: str) -> bool:
        """Return whether a tier that listed nothing in the window lists what lies elsewhere.

        Asked without times it has a fill, if it works; one that lies in the very window that was
        listed as empty shows that it does not.
        """
        try:
            for items in self._exchange.walk(FILLS_PATHS[tier], {}, "fills"):
                if items:
                    moments = (event_time(item.value) for item in items)
                    return not any(moment and self._compared.holds(moment) for moment in moments)
        except ExchangeError as error:
            if tier != HISTORICAL or not is_not_to_be_had(error):
                raise
        return False

    def _rows_of_sync(self, part: Window) -> int:
        """Return how many rows the table has of a range, where a sync wrote some of its rows."""
        if not any(one.by_sync for one in self._survey.profile):
            return 0
        return sum(hour.fills for hour in self._store.hours(part.start, part.end).values())

    def _must_be_stored(self, fill: Fill) -> bool:
        """Return whether a fill that the table lacks is a break: a sync has read so far."""
        if fill.executed_at >= self._current_until:
            return False
        if self._compared.holds(fill.executed_at) and key_hash(fill.key) not in self._seen:
            return False  # the exchange lists it since
        return self._pending_from is None or fill.executed_at < self._pending_from

    def _was_met(self, key: FillKey) -> bool:
        return key_hash(key) in self._seen

    def _is_listed(self, key: FillKey) -> bool:
        return self._was_met(key) or key_hash(key) in self._seen_elsewhere

    def _compare_fills(self, sides: Sides) -> None:
        self._say("comparing fills")

        def wait_for(fill: Fill) -> None:
            sides.pending += 1
            sides.proven.remove(fill)

        def visible(texts: Content) -> bool:
            if not sides.restricted:
                return True
            if texts[_SUBACCOUNT] == "":  # whose it is, only the exchange can tell
                if key_hash(FillKey(texts[_FILL_ID], texts[_ORDER_ID])) in self._seen:
                    return True
            elif texts[_SUBACCOUNT] in self._subaccounts:
                return True
            sides.hidden += 1
            return False

        found = compare(
            self._expected.hours,
            self._store,
            sides.compared,
            self._ask,
            known_to_pass=self._was_met,
            current_until=self._current_until,
            pending_from=self._pending_from,
            on_pending=wait_for,
            visible=visible,
        )
        for one, hour in found:
            if len(sides.breaks) >= MAX_BREAKS:
                sides.more_breaks = True
                break
            sides.breaks.append(one)
            sides.note_difference(hour)
        held = self._store.hours(sides.compared.start, sides.compared.end)
        sides.table_rows = sum(hour.fills for hour in held.values()) - sides.hidden
        sides.breaks = self._moved_in_time(sides.breaks)

    def _ask(self, stretch: Window) -> Iterator[Fill]:
        for page in self._exchange.fills(stretch):
            yield from self._gated(page)

    def _gated(self, page: Page) -> list[Fill]:
        return sort_items(page.items, page.tier, self._clock(), Counts()).fills

    def _compare_orders_by_rows(self, sides: Sides) -> None:
        """Hold rows per order against fills per order: all that a table without ids allows."""
        held = self._survey.evidence.rows_of_orders() if self._survey.schema.exists else {}
        sides.table_rows = sum(rows for _, rows in held.values())
        for order_id in sorted(
            held.keys() | self._of_orders.keys(), key=lambda one: (-held.get(one, ("", 0))[1], one)
        ):
            ticker, rows = held.get(order_id, (None, 0))
            fills = self._of_orders[order_id]
            if rows == fills:
                sides.proven.orders += 1
                continue
            if len(sides.breaks) >= MAX_BREAKS:
                sides.more_breaks = True
                return
            kind = "unexpected" if not fills else "missing" if not rows else "mismatch"
            sides.breaks.append(
                Break(
                    kind,
                    "order",
                    None,
                    order_id,
                    ticker,
                    "fills",
                    fills or None,
                    rows or None,
                )
            )

    def _compare_orders(self, sides: Sides) -> None:
        listed = Listed()
        found = _OrdersFound()
        reader = OrderReader(
            self._fills_of,
            self._latest_of,
            lambda order: self._survey.evidence.fills_of_order(order.order_id),
            self._must_be_stored,
            self._current_until,
        )
        try:
            for batch in chain(
                self._order_batches(sides.compared, listed),
                self._older_orders(sides.compared, found),
            ):
                sums = self._survey.evidence.order_sums([order.order_id for order in batch])
                for outcome in compare_orders(batch, sums, reader):
                    if not found.take(outcome):
                        continue
                    sides.pending_orders += outcome.pending and not outcome.breaks
                    if self._add_new(sides, outcome.breaks):
                        sides.note_difference(outcome.order.created_at)
        except ExchangeError as error:
            if not is_not_to_be_had(error):
                raise
            sides.blind.append(f"Orders could not be compared: {error.message}.")
            return
        sides.proven.orders = len(found.agreeing)
        if not found.agreeing and not found.differing:
            self._note_missing_orders(sides, listed)
        elif listed.unreadable:
            sides.notes.append(
                f"{listed.unreadable:,} of {listed.items:,} orders could not be read and were not "
                "compared."
            )
        since = sides.compared.start
        if (
            listed.no_archive
            and self._cutoff is not None
            and (since is None or since < self._now - _ORDERS_LEAVE_LIVE_AFTER)
        ):
            sides.blind.append(
                "Old orders were not compared: the exchange has no archive of them (404)."
            )

    def _older_orders(self, window: Window, found: _OrdersFound) -> Iterator[list[Order]]:
        """Yield the orders of the window's fills that were created before the window."""
        if window.start is None:
            return
        wanted: dict[str, set[str]] = {}
        for order_id, ticker in self._survey.evidence.orders_of_window():
            if not found.has(order_id) and (ticker in wanted or len(wanted) < _MARKETS_SOUGHT):
                wanted.setdefault(ticker, set()).add(order_id)
        for ticker, order_ids in wanted.items():
            for page in orders(self._exchange, Window(None, window.start), ticker):
                yield [order for order in page if order.order_id in order_ids]

    def _order_batches(self, window: Window, listed: Listed) -> Iterator[list[Order]]:
        """Yield the orders of a window, many pages at once.

        The table is read once for each batch: of a large one, each reading takes its time.
        """
        batch: list[Order] = []
        for page in chain(orders(self._exchange, window, listed=listed), [None]):
            batch += page or []
            if page is None or len(batch) >= _ORDERS_AT_ONCE:
                yield batch
                batch = []

    def _note_missing_orders(self, sides: Sides, listed: Listed) -> None:
        """Note where no order could be compared though there must be some."""
        if listed.unreadable:
            sides.blind.append(
                f"Orders could not be compared: none of the {listed.items:,} listed could be read; "
                "the exchange may have renamed fill_count_fp."
            )
        elif self._a_fill is not None:
            # Its order may be older than the window.
            until = Window(None, sides.compared.end)
            if not any(orders(self._exchange, until, self._a_fill.ticker)):
                sides.blind.append(
                    "Orders could not be compared: the exchange lists none, not even those of the "
                    "fills it lists."
                )

    def _add_new(self, sides: Sides, breaks: Iterable[Break]) -> list[Break]:
        """Add the breaks that another leg has not named; return them."""
        named = {(one.fill_id, one.order_id) for one in sides.of("fill")}
        new = [
            one for one in breaks if one.scope != "fill" or (one.fill_id, one.order_id) not in named
        ]
        if new:
            self._add(sides, self._moved_in_time(new))
        return new

    def _add(self, sides: Sides, breaks: list[Break]) -> None:
        room = MAX_BREAKS - len(sides.breaks)
        sides.more_breaks = sides.more_breaks or len(breaks) > room
        sides.breaks += breaks[:room]

    def _latest_of(self, order: Order) -> Order:
        """Ask for an order once more, by the moment it was created at."""
        moment = Window(order.created_at, order.created_at + timedelta(microseconds=1))
        for page in orders(self._exchange, moment, order.ticker):
            for latest in page:
                if latest.order_id == order.order_id:
                    return latest
        return order

    def _fills_of(self, order: Order) -> Iterator[Fill]:
        return self._fills_of_order(order.order_id, order.ticker, order.created_at)

    def _fills_of_order(
        self, order_id: str, ticker: str, created_at: datetime | None = None
    ) -> Iterator[Fill]:
        """Ask for every fill of an order, in both tiers."""
        yield from self._listed(LIVE, {"order_id": order_id})
        if self._cutoff is None or (created_at is not None and created_at >= self._cutoff):
            return
        asked = {"ticker": ticker}
        if created_at is not None:
            asked["min_ts"] = str(int(created_at.timestamp()) - 1)
        # The archive knows no filter by order.
        for fill in self._listed(HISTORICAL, asked):
            if fill.order_id == order_id:
                yield fill

    def _fills_of_market(self, ticker: str) -> Iterator[Fill]:
        """Ask for every fill of a market there ever was."""
        yield from self._listed(LIVE, {"ticker": ticker})
        if self._cutoff is not None:
            yield from self._listed(HISTORICAL, {"ticker": ticker})

    def _listed(self, tier: str, asked: dict[str, str]) -> Iterator[Fill]:
        for items in self._exchange.walk(FILLS_PATHS[tier], asked, "fills"):
            for fill in self._gated(Page(tier, items)):
                self._seen_elsewhere.put(key_hash(fill.key), 0)
                yield fill

    def _compare_positions(self, sides: Sides, first: list[Position]) -> None:
        if sides.restricted:
            sides.notes.append("Positions were not compared: the key may not read them.")
            return
        if self._positions_refused:
            sides.blind.append(f"Positions could not be compared: {self._positions_refused}.")
            return
        self._say("comparing positions")
        listed = self._positions_listed
        told: dict[str, dict[int, Decimal]] = {}
        seen = {int(text) for text in self._subaccounts if text}
        for subaccount in sorted(seen.union(self._survey.evidence.subaccounts())):
            pages = [first] if subaccount == 0 else positions(self._exchange, subaccount, listed)
            for page in pages:
                for position in page:
                    told.setdefault(position.ticker, {})[subaccount] = position.contracts
        if listed.unreadable:
            sentence = (
                f"{listed.unreadable:,} of {listed.items:,} positions could not be read and were "
                "not compared; the exchange may have renamed position_fp."
            )
            (sides.notes if told else sides.blind).append(sentence)
        held = self._survey.evidence.position_sums(sorted(told))
        for ticker, subaccounts in sorted(told.items()):
            market = MarketPosition(ticker, subaccounts, held.get(ticker, {}))
            if not market.differing():
                sides.proven.positions += len(subaccounts)
                continue
            if self._looked_at_again >= _LOOKED_AT_AGAIN:
                sides.blind.append(
                    f"More than {_LOOKED_AT_AGAIN} positions differ; the rest was not looked at."
                )
                return
            self._looked_at_again += 1
            self._look_again(sides, market)

    def _look_again(self, sides: Sides, market: MarketPosition) -> None:
        """Ask for every fill of a market whose position differs, and say what makes it differ."""
        sent = by_key(self._fills_of_market(market.ticker))
        rows = self._survey.evidence.fills_of_market(market.ticker)
        found = compare_fills(sent.values(), rows, self._must_be_stored, self._current_until)
        for one in self._add_new(sides, found):
            differing = sent.get(one.key)
            sides.note_difference(differing.executed_at if differing else None)
        by_fills = MarketPosition(market.ticker, market.told, sum_up(sent.values()))
        if not by_fills.differing():
            return  # a fill differs, or is newer than what was compared: told already, or pending
        # Contracts may change hands any moment: the position is that of one between two readings.
        by_fills = by_fills._replace(told=self._told_of(market))
        later = by_key(self._fills_of_market(market.ticker))
        new_fills = [fill for key, fill in later.items() if key not in sent]
        if by_fills.is_met_by(sorted(new_fills, key=lambda fill: fill.executed_at)):
            return
        if by_fills._replace(held=sum_up(later.values())).is_moved_between_subaccounts():
            sides.notes.append(
                f"{market.ticker}: contracts were moved between subaccounts, which leaves no fill; "
                "all subaccounts together agree."
            )
            return
        self._add(sides, list(by_fills._replace(held=sum_up(later.values())).breaks()))

    def _told_of(self, market: MarketPosition) -> dict[int, Decimal]:
        """Ask for a market's positions once more, in the subaccounts that were asked for."""
        return {
            one.subaccount_number: one.contracts
            for subaccount in market.told
            for page in positions(self._exchange, subaccount)
            for one in page
            if one.ticker == market.ticker
        }

    def _moved_in_time(self, breaks: list[Break]) -> list[Break]:
        """Tell a fill that stands at another time as one mismatch, wherever it stands.

        What is missing in the window may stand in the table outside of it, and what is unexpected
        there may be the exchange's at another time: both are looked up.
        """
        others = [one for one in breaks if one.scope != "fill"]
        joined = _joined([one for one in breaks if one.scope == "fill"])
        missing = [one.key for one in joined if one.kind == "missing"]
        stored = {
            key: whole.content
            for first in range(0, len(missing), _LOOKED_UP_AT_ONCE)
            for key, whole in self._store.whole(missing[first:][:_LOOKED_UP_AT_ONCE]).items()
        }
        strange = [
            one
            for one in joined
            if one.kind == "unexpected" and one.fill_id and not self._is_listed(one.key)
        ]
        sent: dict[FillKey, Fill] = {}
        if len(strange) <= _STRANGE_LOOKED_UP:
            for one in strange:
                if one.order_id and one.market_ticker and one.key not in sent:
                    fills = self._fills_of_order(one.order_id, one.market_ticker)
                    sent |= {fill.key: fill for fill in fills}
        outcome: list[Break] = []
        for one in joined:
            if one.kind == "missing" and one.key in stored:
                outcome.append(_moved(one, one.executed_at, time_of(stored[one.key])))
            elif one in strange and one.key in sent:
                # At the same time it is another row of a fill that stands in the table.
                at = sent[one.key].executed_at
                again = at == one.executed_at
                outcome.append(one if again else _moved(one, at, one.executed_at))
            else:
                outcome.append(one)
        return [*outcome, *others]


def _hours_told(lag: timedelta) -> str:
    hours = lag / timedelta(hours=1)
    return f"{hours:,.0f} hours" if hours >= 2 else f"{hours * 60:,.0f} minutes"


def _moved(one: Break, exchange: datetime | None, table: datetime | None) -> Break:
    return one._replace(kind="mismatch", field="ts", exchange=exchange, table=table)


def _joined(breaks: list[Break]) -> list[Break]:
    """Join what is missing at one time and unexpected at another: the same fill, other time."""
    missing = {one.key: one for one in breaks if one.kind == "missing"}
    joined: list[Break] = []
    gone: set[FillKey] = set()
    for one in breaks:
        other = missing.get(one.key)
        if one.kind == "unexpected" and other is not None and one.key not in gone:
            gone.add(one.key)
            joined.append(_moved(one, other.executed_at, one.executed_at))
        else:
            joined.append(one)
    return [one for one in joined if not (one.kind == "missing" and one.key in gone)]
