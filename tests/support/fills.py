"""A fill with every field known, which tests change where it matters."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from kalshi_fills.pipeline.fills import Fill

FILL = Fill(
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
