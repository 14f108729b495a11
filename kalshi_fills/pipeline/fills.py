"""What a fill is: its fields, its identity, the reasons for a refusal, the gates before the table.

How a fill is read from an item is not known here; see `parse`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple


class Stage(StrEnum):
    """The stages an item passes, in order."""

    API = "api"
    RAW = "raw"
    REAL = "real"
    VALID = "valid"
    GATED = "gated"
    INSERTED = "inserted"


class Reason(StrEnum):
    """Why an item is refused. `STAGE_OF` has the stage of each reason, `MEANING` its text."""

    NOT_AN_OBJECT = "not_an_object"

    LOOKS_LIKE_ORDER = "looks_like_order"
    LOOKS_LIKE_TRADE = "looks_like_trade"
    LOOKS_LIKE_QUOTE = "looks_like_quote"
    LOOKS_LIKE_SETTLEMENT = "looks_like_settlement"
    LOOKS_LIKE_MARGIN_FILL = "looks_like_margin_fill"
    LOOKS_LIKE_POSITION = "looks_like_position"
    LOOKS_LIKE_TRANSFER = "looks_like_transfer"
    LOOKS_LIKE_MARKET = "looks_like_market"
    NO_ORDER_ID = "no_order_id"
    NO_EVENT_TIME = "no_event_time"
    NO_QUANTITY = "no_quantity"
    NO_PRICE = "no_price"

    ID_UNREADABLE = "id_unreadable"
    TICKER_UNREADABLE = "ticker_unreadable"
    TIME_UNREADABLE = "time_unreadable"
    QUANTITY_UNREADABLE = "quantity_unreadable"
    PRICE_UNREADABLE = "price_unreadable"
    PRICES_DO_NOT_ADD_UP = "prices_do_not_add_up"
    NO_DIRECTION = "no_direction"
    DIRECTION_UNREADABLE = "direction_unreadable"
    DIRECTION_CONTRADICTS = "direction_contradicts"
    FEE_UNREADABLE = "fee_unreadable"
    FLAG_UNREADABLE = "flag_unreadable"
    SUBACCOUNT_UNREADABLE = "subaccount_unreadable"
    SHARD_UNREADABLE = "shard_unreadable"

    PRICE_OUT_OF_RANGE = "price_out_of_range"
    PRICE_TOO_FINE = "price_too_fine"
    QUANTITY_OUT_OF_RANGE = "quantity_out_of_range"
    QUANTITY_TOO_FINE = "quantity_too_fine"
    FEE_OUT_OF_RANGE = "fee_out_of_range"
    SIDE_OUT_OF_RANGE = "side_out_of_range"
    ID_EMPTY = "id_empty"
    TICKER_EMPTY = "ticker_empty"
    TEXT_TOO_LONG = "text_too_long"
    TIME_TOO_EARLY = "time_too_early"
    TIME_IN_THE_FUTURE = "time_in_the_future"
    CONTRADICTS_ANOTHER_REPORT = "contradicts_another_report"


_REASONS: Final = list(Reason)

STAGE_OF: Final[Mapping[Reason, Stage]] = {
    **dict.fromkeys(_REASONS, Stage.GATED),
    **dict.fromkeys(_REASONS[: _REASONS.index(Reason.PRICE_OUT_OF_RANGE)], Stage.VALID),
    **dict.fromkeys(_REASONS[: _REASONS.index(Reason.ID_UNREADABLE)], Stage.REAL),
    Reason.NOT_AN_OBJECT: Stage.RAW,
}
"""The stage at which an item is refused for each reason."""

MEANING: Final[Mapping[Reason, str]] = {
    Reason.NOT_AN_OBJECT: "null, a number, a string or a list where an object was due",
    Reason.LOOKS_LIKE_ORDER: "an order, not an execution of one",
    Reason.LOOKS_LIKE_TRADE: "a public trade, or another party's view of one",
    Reason.LOOKS_LIKE_QUOTE: "a quote, a request for one, or a block trade proposal",
    Reason.LOOKS_LIKE_SETTLEMENT: "a settlement",
    Reason.LOOKS_LIKE_MARGIN_FILL: "a fill of the margin exchange, whose price is not bounded by 1",
    Reason.LOOKS_LIKE_POSITION: "a position",
    Reason.LOOKS_LIKE_TRANSFER: "a deposit or a withdrawal",
    Reason.LOOKS_LIKE_MARKET: "a market snapshot",
    Reason.NO_ORDER_ID: "no order id",
    Reason.NO_EVENT_TIME: "no event time",
    Reason.NO_QUANTITY: "no quantity",
    Reason.NO_PRICE: "no price",
    Reason.ID_UNREADABLE: "an id that is not text",
    Reason.TICKER_UNREADABLE: "a ticker that is not text",
    Reason.TIME_UNREADABLE: "an event time that is neither RFC 3339 with a zone nor epoch seconds",
    Reason.QUANTITY_UNREADABLE: "a quantity that is not a plain decimal string or whole number",
    Reason.PRICE_UNREADABLE: "a price that is not a plain decimal string or whole cents",
    Reason.PRICES_DO_NOT_ADD_UP: "yes and no price do not add up to 1 dollar",
    Reason.NO_DIRECTION: "nothing says which outcome was acquired",
    Reason.DIRECTION_UNREADABLE: "an outcome other than yes/no or a book side other than bid/ask",
    Reason.DIRECTION_CONTRADICTS: "outcome side and book side contradict each other",
    Reason.FEE_UNREADABLE: "a fee that is not a plain decimal string",
    Reason.FLAG_UNREADABLE: "a taker flag that is neither true nor false",
    Reason.SUBACCOUNT_UNREADABLE: "a subaccount that is no number from 0 to 255",
    Reason.SHARD_UNREADABLE: "an exchange index that is no number from 0 to 255",
    Reason.PRICE_OUT_OF_RANGE: "a price that is not between 0 and 1 dollar",
    Reason.PRICE_TOO_FINE: "a price with more than 6 decimals",
    Reason.QUANTITY_OUT_OF_RANGE: "a quantity that is zero, negative or beyond any contract count",
    Reason.QUANTITY_TOO_FINE: "a quantity that is no multiple of 0.01",
    Reason.FEE_OUT_OF_RANGE: "a fee that is negative, too large or finer than 6 decimals",
    Reason.SIDE_OUT_OF_RANGE: "a side other than yes or no",
    Reason.ID_EMPTY: "an empty fill id or order id",
    Reason.TICKER_EMPTY: "an empty ticker",
    Reason.TEXT_TOO_LONG: "ids, ticker and action of more than 1,024 characters together",
    Reason.TIME_TOO_EARLY: "an event time before 2021",
    Reason.TIME_IN_THE_FUTURE: "an event time more than 5 minutes ahead of the clock",
    Reason.CONTRADICTS_ANOTHER_REPORT: (
        "a fill of which the exchange also sent another content, which was stored"
    ),
}


class Content(NamedTuple):
    """What is known of a fill, as texts by the columns of the table; empty where not known.

    Two rows whose contents are equal are the same fill, reported alike. Of the exchange's fills all
    of this is true; a row of the table may hold anything.
    """

    ts: str
    """Event time, such as `2026-11-20 14:31:09.000000` (`created_time`, else `ts`, `timestamp`)."""
    fill_id: str
    """`fill_id` or `trade_id`; a digest of the rest where neither came."""
    exchange_order_id: str
    """`order_id`: the account's own order."""
    market_ticker: str
    side: str
    """yes or no: the outcome acquired."""
    action: str
    """As reported, or empty. Stored, never interpreted."""
    outcome_side: str
    """The same as `side`."""
    book_side: str
    price_cents: str
    """Price of the outcome acquired, in cents with 4 decimals."""
    yes_price_dollars: str
    """Dollars a contract, 0 < p < 1, with 6 decimals."""
    no_price_dollars: str
    """1 - yes."""
    size: str
    """Contracts, with 2 decimals."""
    fee_dollars: str
    """`fee_cost`: dollars charged, with 6 decimals; it was not reported before 2026."""
    is_taker: str
    subaccount_number: str
    """Empty is unknown, not 0."""
    exchange_index: str
    """The shard."""
    direction_inferred: str
    """`true` where the outcome follows from the legacy `side` alone."""

    @property
    def key(self) -> FillKey:
        """The identity of the fill: the two sides of a trade may share an id."""
        return FillKey(self.fill_id, self.exchange_order_id)

    @property
    def moment(self) -> datetime:
        """The event time, aware UTC."""
        return datetime.fromisoformat(f"{self.ts}Z")


CONTENT_FIELDS: Final = Content._fields
"""The columns of a content, in the order in which they are digested."""


class Fill(NamedTuple):
    """One execution of one of the account's orders, as the exchange reports it."""

    content: Content
    id_synthetic: str
    """`true` where the id is a digest of the content."""
    client_order_id: str
    """`client_order_id` of older payloads, or empty."""
    source: str
    """The tier it came from: live or historical."""
    raw_json: str
    """The text of the item, as it came."""

    @property
    def key(self) -> FillKey:
        """The identity of the fill."""
        return self.content.key


class FillKey(NamedTuple):
    """The identity of a fill."""

    fill_id: str
    order_id: str


class Rejected(NamedTuple):
    """An item that is not stored as a fill, complete, with the reason."""

    reason: Reason
    keys: tuple[str, ...]
    """Its keys, in their order; empty for an item that is no object."""
    raw_json: str
    """The text of the item, as it came."""
    claims_fill: bool
    """It may be a fill all the same, going by its keys: the schema may have changed, and a fill
    would be missing."""
    executed_at: datetime | None
    """Its event time, None where none can be read."""
    fingerprint: str
    """32 hex digits, equal for equal content in any order of keys."""

    @property
    def stage(self) -> Stage:
        """The stage at which it was refused."""
        return STAGE_OF[self.reason]


KNOWN_KEYS: Final = frozenset(
    """fill_id trade_id order_id orderId ticker market_ticker created_time ts timestamp ts_ms
    count_fp count yes_price_dollars no_price_dollars yes_price_fixed no_price_fixed yes_price
    no_price price outcome_side book_side side action purchased_side is_taker fee_cost
    subaccount_number subaccount exchange_index client_order_id post_position_fp""".split()
)
"""Every key that fills ever had; others, in a refused item, hint at a changed schema."""

EXPECTED_KEYS: Final = frozenset(
    """fill_id order_id ticker created_time count_fp yes_price_dollars no_price_dollars
    outcome_side book_side""".split()
)
"""The keys that every fill of today has."""

EARLIEST_FILL: Final = datetime(2021, 1, 1, tzinfo=UTC)
"""The exchange opened in 2021; nothing before it is a fill."""

CLOCK_TOLERANCE: Final = timedelta(minutes=5)
"""How far ahead of our clock an event time may lie."""

OUTCOME_OF_BOOK: Final = {"bid": "yes", "ask": "no"}

BOOK_OF_OUTCOME: Final = {"yes": "bid", "no": "ask"}

ONE: Final = Decimal(1)

ZERO: Final = Decimal(0)

_MAX_FEE_DOLLARS: Final = Decimal(10) ** 12

MAX_CONTRACTS: Final = Decimal(10) ** 16

_MAX_TEXT: Final = 1024


def gate(fill: Fill, now: datetime) -> Reason | None:
    """Return why a fill must not be stored, or None: the last check before the table.

    Its numbers are checked before they become text, by `fault_of_prices`, `fault_of_quantity` and
    `fault_of_fee`.
    """
    texts, moment = fill.content, fill.content.moment
    if texts.side not in BOOK_OF_OUTCOME:
        return Reason.SIDE_OUT_OF_RANGE
    if not texts.fill_id or not texts.exchange_order_id:
        return Reason.ID_EMPTY
    if not texts.market_ticker:
        return Reason.TICKER_EMPTY
    free = (*fill.key, texts.market_ticker, texts.action, fill.client_order_id)
    if sum(map(len, free)) > _MAX_TEXT:
        return Reason.TEXT_TOO_LONG
    if moment <= EARLIEST_FILL:
        return Reason.TIME_TOO_EARLY
    if moment > now + CLOCK_TOLERANCE:
        return Reason.TIME_IN_THE_FUTURE
    return None


def fault_of_prices(yes: Decimal, no: Decimal) -> Reason | None:
    """Return why prices of yes and no must not be stored, or None."""
    if not (ZERO < yes < ONE and ZERO < no < ONE):
        return Reason.PRICE_OUT_OF_RANGE
    return None if fits(yes, 6) and fits(no, 6) else Reason.PRICE_TOO_FINE


def fault_of_quantity(contracts: Decimal) -> Reason | None:
    """Return why a quantity must not be stored, or None."""
    if not ZERO < contracts < MAX_CONTRACTS:
        return Reason.QUANTITY_OUT_OF_RANGE
    return None if fits(contracts, 2) else Reason.QUANTITY_TOO_FINE


def fault_of_fee(dollars: Decimal) -> Reason | None:
    """Return why a fee must not be stored, or None."""
    fits_the_column = ZERO <= dollars < _MAX_FEE_DOLLARS and fits(dollars, 6)
    return None if fits_the_column else Reason.FEE_OUT_OF_RANGE


@lru_cache(1 << 14)
def fits(value: Decimal, decimals: int) -> bool:
    """Return whether a value has at most so many decimals."""
    return Decimal(f"{value:.{decimals}f}") == value
