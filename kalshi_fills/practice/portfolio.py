"""The endpoints of settlements and balances, and what may be changed about them while serving."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from kalshi_fills.practice.account import PracticeAccount
from kalshi_fills.practice.faults import Faults
from kalshi_fills.practice.ledger import SECOND_US, PracticeFill, to_us
from kalshi_fills.practice.listing import AFTER_ANY_ID, FIRST, Listing, Place
from kalshi_fills.practice.settlements import (
    MarketSettlement,
    PracticeSettlement,
    balances_of,
    four_places,
    open_value,
    settlements_of,
    summed_by_market,
)
from kalshi_fills.practice.wire import (
    MAX_LIMIT,
    Answer,
    Parameters,
    Request,
    error_answer,
    json_answer,
)


@dataclass(slots=True)
class _Item:
    """Any JSON value in the listing of settlements."""

    place: Place
    value: Any
    ticker: str | None = None
    event_ticker: str | None = None
    subaccount: int | None = None

    def payload(self) -> Any:
        return self.value


_Row = PracticeSettlement | _Item


class Portfolio:
    """Settlements and balances of one account; the exchange's lock is held by whoever calls.

    Markets settle as the account says. `refuse_with` is a status, such as 403, that answers
    instead of the settlements.
    """

    def __init__(
        self,
        account: PracticeAccount,
        fills_oldest_first: Callable[[], Sequence[PracticeFill]],
        now_us: Callable[[], int],
        subaccount: Callable[..., int | None],
        faults: Faults,
    ) -> None:
        """Take whose portfolio it is, and how the exchange answers.

        Args:
            account: when its markets settle, and as what.
            fills_oldest_first: what there is to settle.
            now_us: the exchange's clock.
            subaccount: reads the subaccount of a query, as far as the key may see it.
            faults: what goes wrong with pages.
        """
        self.refuse_with: int | None = None
        self.open_to_restricted = False
        """A key of one subaccount may list its settlements; whether the real ones may is open."""
        self.summed = False
        """Without a subaccount in the query: one row a market, instead of one a subaccount."""
        self.largest_page = MAX_LIMIT
        self._account = account
        self._fills_oldest_first = fills_oldest_first
        self._now_us = now_us
        self._subaccount = subaccount
        self._faults = faults
        self._changes: dict[tuple[str, int], dict[str, Any]] = {}
        self._hidden: set[str] = set()
        self._items: list[_Item] = []
        self._serial = itertools.count(1)
        self._listing: Listing[_Row] | None = None
        self._listing_of_sums: Listing[_Row] | None = None

    # Live state

    def forget(self) -> None:
        """Derive everything anew: fills were added."""
        self._listing = self._listing_of_sums = None

    def settle(self, ticker: str, result: str, payout_cents: int | None, at: datetime) -> None:
        """Settle a market, or settle it otherwise; it leaves the positions."""
        at_us = to_us(at)
        self._account.settlements[ticker] = MarketSettlement(at_us, result, payout_cents)
        self._account.settles_at_us[ticker] = at_us
        self.forget()

    def correct(self, ticker: str, subaccount: int, **changes: Any) -> None:
        """Show keys of a row otherwise than its fills make them, as a late correction does."""
        self._changes.setdefault((ticker, subaccount), {}).update(changes)
        self.forget()

    def hide(self, ticker: str) -> None:
        """Leave a market's rows out of the listing; it stays settled."""
        self._hidden.add(ticker)
        self.forget()

    def insert_item(self, value: Any, at: datetime) -> None:
        """Add any JSON value to the listing of settlements, in every subaccount's."""
        item = value if isinstance(value, dict) else {}
        place = to_us(at), f"{AFTER_ANY_ID}{next(self._serial):012d}"
        self._items.append(_Item(place, value, item.get("ticker"), item.get("event_ticker")))
        self.forget()

    # Answers

    def rows(self) -> list[PracticeSettlement]:
        """Return the rows that are listed by now, by subaccount, oldest first."""
        now_us = self._now_us()
        return [
            row
            for row in self._all().rows
            if isinstance(row, PracticeSettlement) and row.market.settled_at_us <= now_us
        ]

    def get_settlements(self, request: Request) -> Answer:
        """Answer `GET /portfolio/settlements`."""
        if self.refuse_with is not None:
            return error_answer(self.refuse_with, "forbidden", "insufficient scope")
        parameters = Parameters("GetSettlements", request.query)
        limit, cursor = parameters.limit(), parameters.text("cursor")
        min_ts, max_ts = parameters.number("min_ts"), parameters.number("max_ts")
        subaccount = self._subaccount(parameters)
        ticker, event = parameters.text("ticker"), parameters.text("event_ticker")

        def matches(row: _Row) -> bool:
            if ticker is not None and row.ticker != ticker:
                return False
            if event is not None and row.event_ticker != event:
                return False
            return subaccount is None or row.subaccount in (None, subaccount)

        listing = self._sums() if subaccount is None and self.summed else self._all()
        low = FIRST if min_ts is None else (min_ts * SECOND_US, "")
        end_us = self._now_us() + 1
        high = (end_us if max_ts is None else min(end_us, max_ts * SECOND_US), "")
        page = listing.page(
            (low, high),
            cursor,
            min(limit, self.largest_page),
            matches,
            self._faults.page_mishap,
        )
        found = [listing.rows[index].payload() for index in page.rows]
        return json_answer(200, {"cursor": page.cursor, "settlements": found})

    def get_balance(self, request: Request) -> Answer:
        """Answer `GET /portfolio/balance`: of the primary subaccount unless another is named."""
        subaccount = self._subaccount(Parameters("GetBalance", request.query), default=0)
        assert subaccount is not None
        shards = {
            shard: dollars
            for (number, shard), dollars in self._balances().items()
            if number == subaccount
        } or {0: Decimal(0)}
        total = sum(shards.values(), Decimal(0))
        now_us = self._now_us()
        value = open_value(
            fill
            for fill in self._fills_oldest_first()
            if not self._account.is_settled(fill.ticker, now_us)
        ).get(subaccount, Decimal(0))
        return json_answer(
            200,
            {
                "balance": int(total * 100 // 1),
                "balance_breakdown": [
                    {"balance": four_places(dollars), "exchange_index": shard}
                    for shard, dollars in sorted(shards.items())
                ],
                "balance_dollars": four_places(total),
                "portfolio_value": int(value * 100 // 1),
                "updated_ts": self._now_us() // SECOND_US,
            },
        )

    def get_subaccount_balances(self, _request: Request) -> Answer:
        """Answer `GET /portfolio/subaccounts/balances`."""
        updated = self._now_us() // SECOND_US
        found = [
            {
                "balance": four_places(dollars),
                "exchange_index": shard,
                "subaccount_number": number,
                "updated_ts": updated,
            }
            for (number, shard), dollars in sorted(self._balances().items())
        ]
        return json_answer(200, {"subaccount_balances": found})

    def _balances(self) -> dict[tuple[int, int], Decimal]:
        fills = self._fills_oldest_first()
        subaccounts = {0, *(fill.subaccount for fill in fills)}
        return balances_of(fills, self.rows(), subaccounts)

    def _all(self) -> Listing[_Row]:
        if self._listing is None:
            made = settlements_of(self._fills_oldest_first(), self._account.settlements)
            for key, changes in self._changes.items():
                if key in made:
                    made[key].changes = changes
            rows: list[_Row] = [row for row in made.values() if row.ticker not in self._hidden]
            self._listing = Listing([*rows, *self._items])
        return self._listing

    def _sums(self) -> Listing[_Row]:
        if self._listing_of_sums is None:
            rows = self._all().rows
            sums = summed_by_market(row for row in rows if isinstance(row, PracticeSettlement))
            self._listing_of_sums = Listing([*sums, *self._items])
        return self._listing_of_sums
