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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import chain
from typing import Final

from kalshi_fills.account import Order, Position, is_restricted, orders, positions
from kalshi_fills.errors import ExchangeError
from kalshi_fills.evidence import SYNC_SILENT, Survey
from kalshi_fills.exchange import FILLS_PATHS, Exchange
from kalshi_fills.fills import Fill, FillKey, Rejected
from kalshi_fills.listing import HISTORICAL, LIVE, Page, Window
from kalshi_fills.pipeline import (
    CONTENT_FIELDS,
    Content,
    Counts,
    Expected,
    Seen,
    content,
    digest,
    key_hash,
    sort_items,
)
from kalshi_fills.reconcile import (
    Break,
    MarketPosition,
    compare,
    compare_fills,
    compare_orders,
    content_time,
    sum_up,
    time_told,
)
from kalshi_fills.store import FillStore

MAX_BREAKS: Final = 10_000
"""Breaks that are named; what is beyond is said to be more."""

Say = Callable[[str], None]

_LAG_WITHOUT_AS_OF: Final = timedelta(minutes=15)
_LOOKED_AT_AGAIN: Final = 200
_LOOKED_UP_AT_ONCE: Final = 1_000
_ORDERS_AT_ONCE: Final = 20_000
_STRANGE_LOOKED_UP: Final = 20
_SUBACCOUNT: Final = CONTENT_FIELDS.index("subaccount_number")
_FILL_ID: Final = CONTENT_FIELDS.index("fill_id")
_ORDER_ID: Final = CONTENT_FIELDS.index("exchange_order_id")


@dataclass(slots=True)
class Sides:
    """What the comparison with the exchange found."""

    compared: Window
    exchange_fills: int = 0
    table_rows: int = 0
    pending: int = 0
    """Fills that the table lacks, newer than the watermark of a sync that runs."""
    hidden: int = 0
    """Rows of subaccounts that the key does not see."""
    restricted: bool = False
    claims: int = 0
    """Items that the exchange sends now, that claim to be fills and were not accepted."""
    breaks: list[Break] = field(default_factory=list)
    more_breaks: bool = False
    notes: list[str] = field(default_factory=list)
    hours: dict[datetime, int] = field(default_factory=dict)
    foreign: int = 0
    """Rows with an id that is none of the exchange's in the window."""
    differs_since: datetime | None = None
    """No fill older than this is known to differ; None if none does."""

    def note_difference(self, moment: datetime | None) -> None:
        """Note when a fill was traded that differs."""
        if moment is not None:
            self.differs_since = min(moment, self.differs_since or moment)

    def of(self, scope: str, kind: str = "") -> list[Break]:
        """Give the breaks of one scope, of one kind or any."""
        return [one for one in self.breaks if one.scope == scope and kind in ("", one.kind)]


class Comparison:
    """The exchange against the table, leg by leg; made for one run."""

    def __init__(
        self,
        exchange: Exchange,
        store: FillStore,
        survey: Survey,
        window: Window,
        now: datetime,
        say: Say,
    ) -> None:
        self._exchange = exchange
        self._store = store
        self._survey = survey
        self._window = window
        self._now = now
        self._say = say
        self._seen = Seen()
        self._expected = Expected()
        self._subaccounts: set[str] = set()
        self._of_orders: Counter[str] = Counter()
        self._cutoff: datetime | None = None
        self._looked_at_again = 0

    def run(self) -> Sides:
        """Compare.

        Raises:
            ExchangeError: the exchange could not be asked.
            WarehouseError: the tables could not be read.
        """
        exchange = self._exchange
        exchange.learn_limits()
        self._cutoff = exchange.cutoff()
        current_until = exchange.as_of() or self._now - _LAG_WITHOUT_AS_OF
        start = self._window.start
        end = min(self._window.end, current_until)
        sides = Sides(Window(start, end if start is None else max(end, start)))
        if end < self._window.end:
            sides.notes.append(
                f"Compared up to {end:%Y-%m-%dT%H:%M:%SZ}: what is newer, the exchange does not "
                "call complete yet."
            )
        first_positions = self._first_positions(sides)
        self._walk(sides)
        if not self._survey.is_today:
            self._compare_orders_by_rows(sides)
            sides.notes.append(
                "Orders and positions were not compared: the table has to be migrated first."
            )
            return sides
        self._compare_fills(sides, current_until)
        if sides.more_breaks:
            sides.notes.append(
                f"More than {MAX_BREAKS:,} fills differ; orders and positions were not compared."
            )
            return sides
        self._say("comparing orders")
        self._compare_orders(sides)
        if sides.restricted:
            sides.notes.append("Positions were not compared: the key may not read them.")
            return sides
        self._say("comparing positions")
        self._compare_positions(sides, first_positions, current_until)
        return sides

    def _first_positions(self, sides: Sides) -> list[Position]:
        """Ask for the primary subaccount's positions: a restricted key is refused them."""
        try:
            return [one for page in positions(self._exchange, 0) for one in page]
        except ExchangeError as error:
            if not is_restricted(error):
                raise
            sides.restricted = True
            return []

    def _walk(self, sides: Sides) -> None:
        claims: set[str] = set()
        for page in self._exchange.fills(sides.compared):
            kept, rejected = sort_items(page.items, page.tier, self._now, Counts())
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

    def _pending_from(self) -> datetime | None:
        """The watermark of a sync that runs as it should: what is newer may be on its way."""
        finished, latest = self._survey.finished, self._survey.latest_run
        if finished is None or finished.finished_at is None:
            return None
        if latest is not None and latest.status == "failed":
            return None
        return finished.watermark if self._now - finished.finished_at < SYNC_SILENT else None

    def _compare_fills(self, sides: Sides, current_until: datetime) -> None:
        self._say("comparing fills")

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
            known_to_pass=lambda key: key_hash(key) in self._seen,
            current_until=current_until,
            pending_from=self._pending_from(),
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
        if not sides.more_breaks:
            surplus = len(sides.of("fill", "unexpected")) - len(sides.of("fill", "missing"))
            sides.pending = max(0, sides.exchange_fills - sides.table_rows + surplus)
        sides.breaks = self._moved_in_time(sides.breaks)
        sides.foreign = sum(
            bool(one.fill_id) and key_hash(_key(one)) not in self._seen
            for one in sides.of("fill", "unexpected")
        )

    def _ask(self, stretch: Window) -> Iterator[Fill]:
        for page in self._exchange.fills(stretch):
            yield from self._gated(page)

    def _gated(self, page: Page) -> list[Fill]:
        return sort_items(page.items, page.tier, self._now, Counts()).fills

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
                    str(fills) if fills else None,
                    str(rows) if rows else None,
                )
            )

    def _compare_orders(self, sides: Sides) -> None:
        told: set[str] = set()  # of orders that differ only: one may come from both tiers
        # The table is read once for many pages: of a large one, each reading takes its time.
        batch: list[Order] = []
        for page in chain(orders(self._exchange, sides.compared), [None]):
            batch += page or []
            if page is not None and len(batch) < _ORDERS_AT_ONCE:
                continue
            sums = self._survey.evidence.order_sums([order.order_id for order in batch])
            for one in compare_orders(batch, sums, self._fills_of, self._latest_of):
                if one.order_id not in told:
                    told.add(str(one.order_id))
                    self._add(sides, [one])
            batch = []

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
            yield from self._gated(Page(tier, items))

    def _compare_positions(
        self, sides: Sides, first: list[Position], current_until: datetime
    ) -> None:
        told: dict[str, dict[int, Decimal]] = {}
        seen = {int(text) for text in self._subaccounts if text}
        for subaccount in sorted(seen.union(self._survey.evidence.subaccounts())):
            pages = [first] if subaccount == 0 else positions(self._exchange, subaccount)
            for page in pages:
                for position in page:
                    told.setdefault(position.ticker, {})[subaccount] = position.contracts
        held = self._survey.evidence.position_sums(sorted(told))
        named = {(one.fill_id, one.order_id) for one in sides.of("fill")}
        for ticker, subaccounts in sorted(told.items()):
            market = MarketPosition(ticker, subaccounts, held.get(ticker, {}))
            if not market.differing():
                continue
            if self._looked_at_again >= _LOOKED_AT_AGAIN:
                sides.notes.append(
                    f"More than {_LOOKED_AT_AGAIN} positions differ; the rest was not looked at."
                )
                return
            self._looked_at_again += 1
            self._look_again(sides, market, named, current_until)

    def _look_again(
        self,
        sides: Sides,
        market: MarketPosition,
        named: set[tuple[str | None, str | None]],
        current_until: datetime,
    ) -> None:
        """Ask for every fill of a market whose position differs, and say what makes it differ."""
        sent: dict[FillKey, Fill] = {}
        for fill in self._fills_of_market(market.ticker):
            sent.setdefault(fill.key, fill)
        rows = self._survey.evidence.fills_of_market(market.ticker)
        pending_from = self._pending_from() or current_until
        found = compare_fills(
            sent.values(), rows, lambda fill: fill.executed_at < pending_from, current_until
        )
        new = [one for one in found if (one.fill_id, one.order_id) not in named]
        for one in new:
            differing = sent.get(_key(one))
            sides.note_difference(differing.executed_at if differing else None)
        self._add(sides, self._moved_in_time(new))
        by_fills = MarketPosition(market.ticker, market.told, sum_up(sent.values()))
        if not by_fills.differing():
            return  # a fill differs, or is newer than what was compared: told already, or pending
        # Contracts may change hands any moment: the position is that of one between two readings.
        by_fills = by_fills._replace(told=self._told_of(market))
        later = {fill.key: fill for fill in self._fills_of_market(market.ticker)}
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
        joined = _joined(breaks)
        missing = [_key(one) for one in joined if one.kind == "missing" and one.scope == "fill"]
        stored = {
            key: whole.content
            for first in range(0, len(missing), _LOOKED_UP_AT_ONCE)
            for key, whole in self._store.whole(missing[first:][:_LOOKED_UP_AT_ONCE]).items()
        }
        strange = [
            one
            for one in joined
            if one.kind == "unexpected" and one.fill_id and key_hash(_key(one)) not in self._seen
        ]
        sent: dict[FillKey, Fill] = {}
        if len(strange) <= _STRANGE_LOOKED_UP:
            for one in strange:
                if one.order_id and one.market_ticker and _key(one) not in sent:
                    fills = self._fills_of_order(one.order_id, one.market_ticker)
                    sent |= {fill.key: fill for fill in fills}
        outcome: list[Break] = []
        for one in joined:
            if one.kind == "missing" and _key(one) in stored:
                outcome.append(_mismatch(one, time_told(one.exchange), stored[_key(one)][0]))
            elif one in strange and _key(one) in sent:
                at = content_time(sent[_key(one)].executed_at)
                # At the same time it is another row of a fill that stands in the table.
                again = at == time_told(one.table)
                outcome.append(one if again else _mismatch(one, at, time_told(one.table)))
            else:
                outcome.append(one)
        return outcome


def _key(one: Break) -> FillKey:
    return FillKey(one.fill_id or "", one.order_id or "")


def _mismatch(one: Break, exchange: str, table: str) -> Break:
    return one._replace(kind="mismatch", field="ts", exchange=exchange, table=table)


def _joined(breaks: list[Break]) -> list[Break]:
    """Join what is missing at one time and unexpected at another: the same fill, other time."""
    missing = {_key(one): one for one in breaks if one.kind == "missing"}
    joined: list[Break] = []
    gone: set[FillKey] = set()
    for one in breaks:
        other = missing.get(_key(one))
        if one.kind == "unexpected" and other is not None and _key(one) not in gone:
            gone.add(_key(one))
            joined.append(_mismatch(one, time_told(other.exchange), time_told(one.table)))
        else:
            joined.append(one)
    return [one for one in joined if not (one.kind == "missing" and _key(one) in gone)]
