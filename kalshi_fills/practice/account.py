"""What a practice account holds, made up from a seed.

`generate_account` plays a market maker: many short-lived markets, several fills to an order,
sub-cent prices, fractional sizes, quiet nights, bursts, ties within one microsecond.
`the_incident` and `incident_rows` are the two sides of one story: what the exchange had, and what
an engine that took everything for a fill had written. Pure and deterministic; no clock, no I/O.
"""

import itertools
import json
import random
import uuid
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from kalshi_fills.practice.ledger import (
    DAY_US,
    EPOCH,
    ERAS,
    HOUR_US,
    SECOND_US,
    Era,
    Eras,
    PracticeFill,
    PracticeOrder,
    PracticePosition,
    Side,
    client_order_id,
    era_at,
    orders_of,
    positions_of,
    subaccounts_known_at,
    to_us,
)
from kalshi_fills.practice.lookalikes import (
    BROKEN_FILL_KINDS,
    JUNK_KINDS,
    LOOK_ALIKE_KINDS,
    JunkItem,
    hex_id,
    junk_items,
)
from kalshi_fills.practice.settlements import MarketSettlement, settle_markets

__all__ = [
    "BROKEN_FILL_KINDS",
    "ERAS",
    "JUNK_KINDS",
    "LOOK_ALIKE_KINDS",
    "Era",
    "Eras",
    "JunkItem",
    "PracticeAccount",
    "PracticeFill",
    "PracticeOrder",
    "PracticePosition",
    "fills_of_last_month",
    "generate_account",
    "incident_rows",
    "junk_items",
    "the_incident",
]

SettlementStatus = Literal["unsettled", "settled", "all"]

_MILLION = 1_000_000


@dataclass(slots=True)
class PracticeAccount:
    """Everything the exchange knows about one account."""

    fills: list[PracticeFill]
    """Newest first."""
    end_us: int
    """The end of the time span the account was made for."""
    junk: list[JunkItem] = field(default_factory=list)
    """Items in the listing of fills that are not fills, newest first."""
    eras: Eras = "calendar"
    """How fills are spelled: by their date, or all in one shape."""
    settles_at_us: dict[str, int] = field(default_factory=dict)
    """When each market settles; a market not named here never does."""
    settlements: dict[str, MarketSettlement] = field(default_factory=dict)
    """How markets settle that the exchange lists as settled; of others it lists nothing."""
    unfilled_orders: list[PracticeOrder] = field(default_factory=list)
    """Orders that never had a fill."""

    def settled(self, share: float = 1.0, **options: Any) -> "PracticeAccount":
        """Return the account with settlements of a share of its markets; the others stay open.

        Args:
            share: which share of its markets settles.
            options: as `settle_markets` takes them.
        """
        settlements = settle_markets(self.settles_at_us, share=share, **options)
        settles_at_us = {ticker: self.settles_at_us[ticker] for ticker in settlements}
        return replace(self, settles_at_us=settles_at_us, settlements=settlements)

    def era_of(self, fill: PracticeFill) -> Era:
        """Return the era in whose shape this account's exchange sends the fill."""
        return era_at(fill.executed_at_us, self.eras)

    def is_settled(self, ticker: str, at_us: int) -> bool:
        """Return whether the market has settled by that time."""
        return self.settles_at_us.get(ticker, at_us + 1) <= at_us

    def orders(
        self, fills: Iterable[PracticeFill] | None = None, *, at_us: int | None = None
    ) -> list[PracticeOrder]:
        """Return every order, newest first, derived from `fills` (the account's own if None).

        `at_us` is the instant of asking: a resting order needs a market that is still open.
        """
        now_us = self.end_us if at_us is None else at_us
        derived = orders_of(
            self.fills if fills is None else fills,
            may_rest=lambda ticker: not self.is_settled(ticker, now_us),
        )
        everything = itertools.chain(derived, self.unfilled_orders)
        return sorted(everything, key=lambda order: order.place, reverse=True)

    def positions(
        self,
        fills: Iterable[PracticeFill] | None = None,
        *,
        status: SettlementStatus = "unsettled",
        at_us: int | None = None,
    ) -> dict[tuple[str, int], PracticePosition]:
        """Return the position of each (ticker, subaccount) whose market has that status.

        Args:
            fills: oldest first; the account's own if None.
            status: which markets to look at.
            at_us: the instant of asking, the end of the account's span if None.
        """
        now_us = self.end_us if at_us is None else at_us
        oldest_first = reversed(self.fills) if fills is None else fills
        if status == "all":
            return positions_of(oldest_first)
        wanted = status == "settled"
        return positions_of(
            fill for fill in oldest_first if self.is_settled(fill.ticker, now_us) == wanted
        )


@dataclass(frozen=True, slots=True)
class _Series:
    """A recurring kind of market and the price grid it trades on."""

    name: str
    life_hours: int
    strikes: tuple[str, ...]
    grid: Literal["cent", "tapered", "deci", "centi"]
    exchange_index: int
    maker_fee: bool
    """True where makers pay a quarter of the taker's fee, not nothing."""

    def snap(self, millionths: int) -> int:
        """Return the nearest price on this grid, away from 0 and 1."""
        edge = min(millionths, _MILLION - millionths)
        match self.grid:
            case "cent":
                step = 10_000
            case "tapered":
                step = 1_000 if edge < 100_000 else 10_000
            case "deci":
                step = 1_000
            case "centi":
                step = 100 if edge < 10_000 else 1_000
        return min(max(millionths // step * step, step), _MILLION - step)


_SERIES = (
    _Series("KXBTCD", 3, ("T99", "T100", "T101", "T102"), "tapered", 2, maker_fee=True),
    _Series("KXETHD", 6, ("T31", "T32", "T33"), "tapered", 2, maker_fee=False),
    _Series("KXHIGHNY", 24, ("B48.5", "B50.5", "B52.5", "T55"), "cent", 0, maker_fee=False),
    _Series("KXINXD", 24, ("B6712", "B6737", "T6760"), "deci", 0, maker_fee=True),
    _Series("KXNBAGAME", 48, ("LAL", "BOS"), "cent", 3, maker_fee=True),
    _Series("KXMVESPORTS", 36, ("34EF56AB78C", "91D0A2C4B7E"), "centi", 1, maker_fee=False),
    _Series("KXCPIYOY", 120, ("T2.6", "T2.8", "T3.0"), "tapered", 0, maker_fee=False),
)
_CENT_SERIES = tuple(series for series in _SERIES if series.grid == "cent")


@dataclass(slots=True)
class _Market:
    ticker: str
    series: _Series
    settles_at_us: int
    centre: int
    """Where it trades, millionths of a dollar."""


class _Maker:
    """Makes orders and their fills, sharing equal numbers and texts to save memory."""

    def __init__(self, rng: random.Random, eras: Eras, subaccounts: Sequence[int]) -> None:
        self._rng = rng
        self._eras = eras
        self._subaccounts = tuple(subaccounts)
        self._numbers: dict[tuple[int, int], Decimal] = {}
        self.markets: dict[tuple[str, int, str], _Market] = {}

    def _number(self, units: int, places: int) -> Decimal:
        key = units, places
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = Decimal(units).scaleb(-places)
        return number

    def market_at(self, at_us: int, *, whole_cents: bool) -> _Market:
        rng = self._rng
        series = rng.choice(_CENT_SERIES if whole_cents else _SERIES)
        strike = rng.choice(series.strikes)
        period = at_us // (series.life_hours * HOUR_US)
        key = series.name, period, strike
        market = self.markets.get(key)
        if market is None:
            settles_at_us = (period + 1) * series.life_hours * HOUR_US
            closes = EPOCH + timedelta(microseconds=settles_at_us)
            market = self.markets[key] = _Market(
                ticker=f"{series.name}-{closes:%y%b%d%H}-{strike}".upper(),
                series=series,
                settles_at_us=settles_at_us,
                # A third of the markets trade near the edges, where the fine grids are.
                centre=rng.choice((5_000, 1_500, 985_000, 995_000))
                if rng.random() < 0.33
                else rng.randrange(30_000, 970_000),
            )
        return market

    def _hundredths(self, *, whole: bool) -> int:
        """Return a random size in hundredths of a contract."""
        rng = self._rng
        kind = rng.random()
        if kind < 0.55 or (whole and kind < 0.95):
            return rng.choice((1, 2, 5, 10, 10, 20, 25, 50, 100)) * 100
        if kind < 0.57:
            return 1
        if kind < 0.61:
            return 250
        if kind < 0.95:
            return rng.randrange(1, 5_000)
        return rng.randrange(100, 5_000) * 100

    def _fee(
        self, market: _Market, hundredths: int, price: int, *, taker: bool, whole: bool
    ) -> int:
        """Return a fee in millionths of a dollar, rounded up as the exchange of that time did."""
        if not taker and (whole or not market.series.maker_fee):
            return 0
        rate = 28 if taker else 7  # quarters of a percent
        fee = -(-rate * hundredths * price * (_MILLION - price) // (40_000 * _MILLION))
        return -(-fee // 10_000) * 10_000 if whole else fee

    def order_fills(self, at_us: int, end_us: int) -> Iterator[PracticeFill]:
        """Yield the fills of one new order, oldest first, at least one, all before `end_us`."""
        rng = self._rng
        whole = era_at(at_us, self._eras) in ("legacy", "readme")
        market = self.market_at(at_us, whole_cents=whole)
        # Fine grids move less than a cent at a time, so that sub-cent prices occur.
        drift = int(rng.gauss(0, 15_000 if market.series.grid == "cent" else 4_000))
        limit = market.series.snap(market.centre + drift)
        six_places = market.series.grid == "centi"
        outcome_side: Side = "yes" if rng.random() < 0.5 else "no"
        order_id = hex_id(rng)
        subaccount = 0
        if subaccounts_known_at(at_us, self._eras):
            subaccount = rng.choice(self._subaccounts)
        takes = rng.random() < 0.25
        last_us = min(end_us, market.settles_at_us)
        for number in range(rng.choice((1, 1, 1, 2, 2, 3, 4, 6, 9))):
            if number and rng.random() > 0.08:
                at_us += int(rng.expovariate(1 / 20) * SECOND_US) + 1
            if at_us >= last_us:
                return
            taker = takes and (number == 0 or rng.random() < 0.5)
            price = limit
            if taker and rng.random() < 0.3:
                better = -10_000 if outcome_side == "yes" else 10_000
                price = market.series.snap(limit + better)
            hundredths = self._hundredths(whole=whole)
            fee = self._fee(market, hundredths, price, taker=taker, whole=whole)
            yield PracticeFill(
                fill_id=hex_id(rng),
                order_id=order_id,
                ticker=market.ticker,
                outcome_side=outcome_side,
                count=self._number(hundredths, 2),
                yes_price=self._number(price, 6) if six_places else self._number(price // 100, 4),
                fee=self._number(fee, 6),
                is_taker=taker,
                subaccount=subaccount,
                exchange_index=market.series.exchange_index,
                executed_at_us=at_us,
            )

    def unfilled_order(self, at_us: int) -> PracticeOrder:
        """Return an order that was canceled without a fill."""
        rng = self._rng
        market = self.market_at(at_us, whole_cents=True)
        nothing, no_dollars = Decimal("0.00"), Decimal("0.000000")
        return PracticeOrder(
            order_id=hex_id(rng),
            ticker=market.ticker,
            outcome_side=rng.choice(("yes", "no")),
            status="canceled",
            yes_price=self._number(market.series.snap(market.centre) // 100, 4),
            initial_count=self._number(self._hundredths(whole=True), 2),
            fill_count=nothing,
            taker_fees=no_dollars,
            maker_fees=no_dollars,
            taker_fill_cost=no_dollars,
            maker_fill_cost=no_dollars,
            subaccount=0,
            exchange_index=market.series.exchange_index,
            created_at_us=at_us,
            updated_at_us=at_us + rng.randrange(SECOND_US, 600 * SECOND_US),
        )


def _hour_weights(rng: random.Random, start_us: int, hours: int) -> list[float]:
    """Return a weight for each hour of the span: quiet nights in New York, and a few bursts."""
    weights = []
    for hour in range(hours):
        utc_hour = (start_us // HOUR_US + hour) % 24
        weight = 0.1 if 5 <= utc_hour < 12 else 1.0
        weights.append(weight * (8 if rng.random() < 0.03 else 1))
    return list(itertools.accumulate(weights))


def generate_account(
    seed: int,
    fills: int,
    *,
    start: datetime,
    end: datetime,
    eras: Eras = "calendar",
    subaccounts: Sequence[int] = (0, 1),
    junk_share: float = 0.0,
    junk_kinds: tuple[str, ...] = JUNK_KINDS,
) -> PracticeAccount:
    """Return a made-up account with exactly `fills` fills in [start, end).

    Args:
        seed: the same seed and arguments give the same account.
        fills: how many.
        start: aware; no fill is earlier.
        end: aware; no fill is as late.
        eras: `calendar`, or one era in whose shape every fill is spelled. Fills are made to fit
            the shape: an era of integers has whole contracts and whole cents only.
        subaccounts: those that trade, each as often; the eras before subaccounts use 0.
        junk_share: share of the listing's items that are no fills, from 0 to below 1.
        junk_kinds: which kinds of junk, see `junk_items`.

    Raises:
        ValueError: the span is empty or the share is out of range.
    """
    start_us, end_us = to_us(start), to_us(end)
    if end_us <= start_us:
        raise ValueError("the account's span must end after it starts")
    if not 0 <= junk_share < 1:
        raise ValueError(f"junk_share must be from 0 to below 1, not {junk_share}")
    rng = random.Random(seed)
    maker = _Maker(rng, eras, subaccounts)
    hours = -(-(end_us - start_us) // HOUR_US)
    weights = _hour_weights(rng, start_us, hours)
    made: list[PracticeFill] = []
    unfilled: list[PracticeOrder] = []
    while len(made) < fills:
        hour = bisect_left(weights, rng.random() * weights[-1])
        at_us = start_us + hour * HOUR_US
        at_us += rng.randrange(min(HOUR_US, end_us - at_us))
        made.extend(itertools.islice(maker.order_fills(at_us, end_us), fills - len(made)))
        if rng.random() < 0.02:
            unfilled.append(maker.unfilled_order(at_us))
    made.sort(key=lambda fill: fill.place, reverse=True)
    junk = [
        JunkItem(kind, value, rng.randrange(start_us, end_us))
        for kind, value in junk_items(
            seed, round(fills * junk_share / (1 - junk_share)), kinds=junk_kinds
        )
    ]
    junk.sort(key=lambda item: item.at_us, reverse=True)
    return PracticeAccount(
        fills=made,
        end_us=end_us,
        junk=junk,
        eras=eras,
        settles_at_us={market.ticker: market.settles_at_us for market in maker.markets.values()},
        unfilled_orders=unfilled,
    )


_INCIDENT_SEED = 4774
_INCIDENT_FILLS: tuple[tuple[int, Side, int, int, int, bool], ...] = (
    # seconds before now, outcome, contracts, yes cents, fee in millionths, taker
    (3_420, "yes", 10, 41, 169_330, True),
    (3_060, "no", 25, 63, 0, False),
    (2_580, "yes", 40, 41, 0, False),
    (1_790, "yes", 5, 88, 36_960, True),
    (700, "no", 12, 57, 0, False),
)
_FILLS_OF_LAST_MONTH: tuple[tuple[int, Literal["yes", "no"], int, int, int], ...] = (
    # hours after the first, outcome, contracts, yes cents, fee in millionths
    (0, "yes", 120, 34, 0),
    (5, "yes", 80, 37, 1_305_360),
    (29, "no", 150, 61, 0),
)
_POLL_SECONDS = 10
_PRICED_PER_THOUSAND = 75


def the_incident(now: datetime, *, junk: int = 0) -> PracticeAccount:
    """Return the account behind the incident: exactly five fills, all in the hour before `now`.

    With `junk`, the listing of fills also holds that many look-alikes from the same hour.
    """
    rng = random.Random(_INCIDENT_SEED)
    now_us = to_us(now)
    ticker = f"KXHIGHNY-{now + timedelta(days=1):%y%b%d}-B52.5".upper()
    first_order = hex_id(rng)
    fills = [
        PracticeFill(
            fill_id=hex_id(rng),
            # One order took first and then rested.
            order_id=first_order if number in (0, 2) else hex_id(rng),
            ticker=ticker,
            outcome_side=side,
            count=Decimal(contracts).quantize(Decimal("0.01")),
            yes_price=Decimal(cents * 100).scaleb(-4),
            fee=Decimal(fee).scaleb(-6),
            is_taker=taker,
            subaccount=0,
            exchange_index=0,
            executed_at_us=now_us - before * SECOND_US + 1_000 * number + 417,
        )
        for number, (before, side, contracts, cents, fee, taker) in enumerate(_INCIDENT_FILLS)
    ]
    items = [
        JunkItem(kind, value, now_us - rng.randrange(1, HOUR_US))
        for kind, value in junk_items(_INCIDENT_SEED, junk, kinds=LOOK_ALIKE_KINDS)
    ]
    return PracticeAccount(
        fills=sorted(fills, key=lambda fill: fill.place, reverse=True),
        end_us=now_us,
        junk=sorted(items, key=lambda item: item.at_us, reverse=True),
        settles_at_us={ticker: now_us + DAY_US},
    )


def fills_of_last_month(now: datetime) -> list[PracticeFill]:
    """Return fills of a month before `now`, all in one market: the account also traded then."""
    rng = random.Random(_INCIDENT_SEED + 1)
    traded = now - timedelta(days=30)
    ticker = f"KXCPI-{now:%y%b%d}-T2.6".upper()
    return [
        PracticeFill(
            fill_id=hex_id(rng),
            order_id=hex_id(rng),
            ticker=ticker,
            outcome_side=side,
            count=Decimal(contracts).quantize(Decimal("0.01")),
            yes_price=Decimal(cents * 100).scaleb(-4),
            fee=Decimal(fee).scaleb(-6),
            is_taker=bool(fee),
            subaccount=0,
            exchange_index=0,
            executed_at_us=to_us(traded) + hours * HOUR_US,
        )
        for hours, side, contracts, cents, fee in _FILLS_OF_LAST_MONTH
    ]


def incident_rows(
    now: datetime, count: int = 4774, *, era: Era = "current"
) -> list[dict[str, Any]]:
    """Return rows of the legacy table as the broken engine wrote them, oldest first.

    It polled every ten seconds of the hour before `now` and wrote each item of the answer as a
    new row, stamped with the time of the poll. About 92.5 % of the rows are orders (the engine
    found no price it knew and wrote 0), two rows in five of these are one order; the rest are
    the five fills of `the_incident`, over and over. `era` is the shape of the fills' `raw_json`.

    Each row is a dict in the legacy table's column order: ts (aware UTC), engine_instance_id,
    engine_version, market_ticker, exchange_order_id, client_order_id, side, price (float, dollars
    of the side), price_cents (int), size (int), fee (float, dollars), decision_id (UUID), raw_json.

    Raises:
        ValueError: too few rows for each fill to be there once.
    """
    account = the_incident(now)
    rng = random.Random(_INCIDENT_SEED + 1)
    priced = round(count * _PRICED_PER_THOUSAND / 1000)
    polls = [now - timedelta(seconds=before) for before in range(3600, 0, -_POLL_SECONDS)]
    instance = f"mm-{rng.getrandbits(24):06x}"

    def row(ts: datetime, item: dict[str, Any], raw: str, money: dict[str, Any]) -> dict[str, Any]:
        return {
            "ts": ts,
            "engine_instance_id": instance,
            "engine_version": "0.9.3",
            "market_ticker": item["ticker"],
            "exchange_order_id": item["order_id"],
            "client_order_id": client_order_id(item["order_id"]),
            "side": item["side"],
            **money,
            "decision_id": uuid.UUID(int=rng.getrandbits(128), version=4),
            "raw_json": raw,
        }

    orders = [value for _, value in junk_items(_INCIDENT_SEED, 24, kinds=("order",))]
    # Spread evenly: the engine's own clock, not trading, sets the pace.
    slots = [polls[number * len(polls) // count] for number in range(count)]
    first = next(n for n, ts in enumerate(slots) if to_us(ts) >= account.fills[-1].executed_at_us)
    with_fill = {first + number * (count - first) // priced for number in range(priced)}
    times_written = dict.fromkeys(account.fills, 0)
    rows = []
    for number, ts in enumerate(slots):
        if number not in with_fill:
            item = orders[0] if rng.random() < 0.4 else rng.choice(orders)
            money: dict[str, Any] = {"price": 0.0, "price_cents": 0, "size": 0, "fee": 0.0}
            rows.append(row(ts, item, json.dumps(item), money))
            continue
        known = [fill for fill in account.fills if fill.executed_at_us <= to_us(ts)]
        fill = min(known, key=times_written.__getitem__)
        times_written[fill] += 1
        yes_cents = int(fill.yes_price * 100)
        cents = yes_cents if fill.outcome_side == "yes" else 100 - yes_cents
        money = {
            "price": cents / 100,
            "price_cents": cents,
            "size": int(fill.count),
            "fee": float(fill.fee),
        }
        item = {"ticker": fill.ticker, "order_id": fill.order_id, "side": fill.outcome_side}
        rows.append(row(ts, item, fill.payload_json(era), money))
    if not all(times_written.values()):
        raise ValueError(f"{count} rows are too few for each of the five fills to be there")
    return rows
