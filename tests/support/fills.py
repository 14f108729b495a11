"""A fill with every field known, which tests change where it matters, as values of Python's own."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from kalshi_fills.pipeline.fills import Content, Fill, FillKey


class Values(NamedTuple):
    """What is known of a fill, as values: what its texts must say."""

    executed_at: datetime
    fill_id: str
    order_id: str
    ticker: str
    outcome: str
    action: str
    yes_price_dollars: Decimal
    no_price_dollars: Decimal
    contracts: Decimal
    fee_dollars: Decimal | None
    is_taker: bool | None
    subaccount_number: int | None
    exchange_index: int | None
    direction_inferred: bool
    id_synthetic: bool
    client_order_id: str
    source: str
    raw_json: str

    @property
    def key(self) -> FillKey:
        return FillKey(self.fill_id, self.order_id)

    @property
    def price_dollars(self) -> Decimal:
        """Of the outcome acquired."""
        return self.yes_price_dollars if self.outcome == "yes" else self.no_price_dollars

    @property
    def content(self) -> Content:
        """What the columns of the table hold of it, as texts."""
        known = {None: "", True: "true", False: "false"}
        return Content(
            ts=f"{self.executed_at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}",
            fill_id=self.fill_id,
            exchange_order_id=self.order_id,
            market_ticker=self.ticker,
            side=self.outcome,
            action=self.action,
            outcome_side=self.outcome,
            book_side="bid" if self.outcome == "yes" else "ask",
            price_cents=f"{self.price_dollars * 100:.4f}",
            yes_price_dollars=f"{self.yes_price_dollars:.6f}",
            no_price_dollars=f"{self.no_price_dollars:.6f}",
            size=f"{self.contracts:.2f}",
            fee_dollars="" if self.fee_dollars is None else f"{self.fee_dollars:.6f}",
            is_taker=known[self.is_taker],
            subaccount_number=_text(self.subaccount_number),
            exchange_index=_text(self.exchange_index),
            direction_inferred=known[self.direction_inferred],
        )

    @property
    def payload(self) -> dict[str, object]:
        """An item of the exchange that says all of it."""
        direction: dict[str, object] = {"side": self.outcome}
        if not self.direction_inferred:
            direction = {"outcome_side": self.outcome, "book_side": self.content.book_side}
        return direction | {
            "created_time": f"{self.executed_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z",
            "fill_id": self.fill_id,
            "order_id": self.order_id,
            "ticker": self.ticker,
            "action": self.action,
            "yes_price_dollars": str(self.yes_price_dollars),
            "no_price_dollars": str(self.no_price_dollars),
            "count_fp": str(self.contracts),
            "fee_cost": None if self.fee_dollars is None else str(self.fee_dollars),
            "is_taker": self.is_taker,
            "subaccount_number": self.subaccount_number,
            "exchange_index": self.exchange_index,
        }

    @property
    def fill(self) -> Fill:
        is_synthetic = "true" if self.id_synthetic else "false"
        return Fill(self.content, is_synthetic, self.client_order_id, self.source, self.raw_json)


def values_of(fill: Fill) -> Values:
    """Return what a fill's texts say, and check that they say it as the table does."""
    texts = fill.content
    flags = {"": None, "true": True, "false": False}
    values = Values(
        datetime.fromisoformat(texts.ts).replace(tzinfo=UTC),
        texts.fill_id,
        texts.exchange_order_id,
        texts.market_ticker,
        texts.side,
        texts.action,
        Decimal(texts.yes_price_dollars),
        Decimal(texts.no_price_dollars),
        Decimal(texts.size),
        Decimal(texts.fee_dollars) if texts.fee_dollars else None,
        flags[texts.is_taker],
        int(texts.subaccount_number) if texts.subaccount_number else None,
        int(texts.exchange_index) if texts.exchange_index else None,
        texts.direction_inferred == "true",
        fill.id_synthetic == "true",
        fill.client_order_id,
        fill.source,
        fill.raw_json,
    )
    assert values.fill == fill
    return values


def _text(number: int | None) -> str:
    return "" if number is None else str(number)


FILL = Values(
    executed_at=datetime(2026, 11, 20, 14, 31, 9, 417, tzinfo=UTC),
    fill_id="f-1",
    order_id="o-1",
    ticker="KXTEMP-26NOV20-B52.5",
    outcome="no",
    action="sell",
    yes_price_dollars=Decimal("0.6100"),
    no_price_dollars=Decimal("0.3900"),
    contracts=Decimal("4.50"),
    fee_dollars=Decimal("0.074939"),
    is_taker=True,
    subaccount_number=1,
    exchange_index=2,
    direction_inferred=False,
    id_synthetic=False,
    client_order_id="",
    source="live",
    raw_json="{}",
)


def _edge(number: int, text: str, **changes: Any) -> Values:
    fill = FILL._replace(
        fill_id=f"{number}{text}", order_id=f"o{text}", ticker=f"KX{text}", action=text
    )
    return fill._replace(**changes)


HOSTILE_TEXTS = [
    "",
    "plain",
    "tab\tnewline\nreturn\rnul\0bell\a",
    "back\\slash \\n \\N \\0",
    'quote\' "double" `back`',
    "'; DROP TABLE mm_fills; --",
    "{fill_ids:Array(String)} %s %(x)s",
    "\u00e9\u4e2d\u0660 \u202eleft \ufeff\u2028",
    "\U0001f9ff\U0010ffff",
    "1:a3:bcd",
    "NULL",
    "x" * 1000,
]
EDGES = [
    *(_edge(number, text) for number, text in enumerate(HOSTILE_TEXTS)),
    _edge(
        100,
        "unknown",
        fee_dollars=None,
        is_taker=None,
        subaccount_number=None,
        exchange_index=None,
        direction_inferred=True,
    ),
    _edge(
        101,
        "zero",
        fee_dollars=Decimal(0),
        is_taker=False,
        subaccount_number=0,
        exchange_index=0,
        executed_at=datetime(2026, 11, 20, tzinfo=UTC),
    ),
    _edge(
        102,
        "edge",
        outcome="yes",
        yes_price_dollars=Decimal("0.000001"),
        no_price_dollars=Decimal("0.999999"),
        contracts=Decimal("9999999999999999.99"),
        fee_dollars=Decimal("999999999999.999999"),
        subaccount_number=255,
        exchange_index=255,
        executed_at=datetime(2199, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ),
    _edge(
        103,
        "other edge",
        yes_price_dollars=Decimal("0.9950"),
        no_price_dollars=Decimal("0.0050"),
        contracts=Decimal("0.01"),
        fee_dollars=Decimal("123456789012.12345"),
        executed_at=datetime(2021, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
    ),
]
"""Fills at the edges of what a column holds, and with texts that are easily mistaken."""
