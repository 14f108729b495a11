"""The keys by which an item is known as something other than a fill, whatever else it carries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_MARKS: Final = {
    "looks_like_order": """status initial_count_fp remaining_count_fp fill_count_fp
        initial_count remaining_count fill_count average_fill_price average_fee_paid user_id
        order_group_id last_update_time self_trade_prevention_type taker_fill_cost_dollars
        maker_fill_cost_dollars taker_fees_dollars maker_fees_dollars expiration_time is_yes""",
    "looks_like_trade": """taker_side taker_outcome_side taker_book_side is_block_trade
        maker_order_id taker_order_id maker_subtrader_id taker_subtrader_id""",
    "looks_like_quote": """rfq_id rfq_creator_id creator_id creator_order_id
        rfq_creator_order_id contracts_fp accepted_side target_cost_dollars centicount
        price_centi_cents buyer_order_id seller_order_id maker_side""",
    "looks_like_settlement": """market_result settled_time revenue yes_count_fp no_count_fp
        yes_total_cost_dollars no_total_cost_dollars""",
    "looks_like_margin_fill": "entry_price order_source realized_pnl fees",
    "looks_like_position": """position_fp position market_exposure_dollars
        realized_pnl_dollars fees_paid_dollars total_traded_dollars""",
    "looks_like_transfer": "amount_cents fee_cents finalized_ts",
    "looks_like_market": """yes_bid yes_ask no_bid no_ask yes_bid_dollars yes_ask_dollars
        no_bid_dollars no_ask_dollars last_price last_price_dollars volume volume_fp volume_24h
        open_interest open_interest_fp open_time close_time liquidity""",
}

LOOKALIKES: Final[Mapping[str, str]] = {
    key: reason for reason, keys in _MARKS.items() for key in keys.split()
}
"""Keys that no fill ever had, each with the reason for which an item that has it is refused."""
