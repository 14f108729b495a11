"""All fills of the account with pykalshi, then one insert with clickhouse-connect.

    with_pykalshi.py API_URL KEY_ID KEY_FILE HTTP_PORT PASSWORD DATABASE

As its documentation has it: `get_fills(fetch_all=True)`, with the largest page that the exchange
gives. All fills are in memory before the first is stored; nothing is checked, looked up or proved.
"""

from __future__ import annotations

import sys
from datetime import datetime
from decimal import Decimal

import clickhouse_connect  # type: ignore[import-not-found, unused-ignore]
from pykalshi import KalshiClient  # type: ignore[import-not-found, unused-ignore]

COLUMNS = {
    "ts": "DateTime64(6, 'UTC')",
    "fill_id": "String",
    "exchange_order_id": "String",
    "market_ticker": "String",
    "side": "LowCardinality(String)",
    "yes_price_dollars": "Decimal(9, 6)",
    "size": "Decimal(18, 2)",
    "fee_dollars": "Decimal(18, 6)",
    "is_taker": "Bool",
    "subaccount_number": "UInt8",
}


def main() -> None:
    url, key_id, key_file, http_port, password, database = sys.argv[1:]
    with KalshiClient(api_key_id=key_id, private_key_path=key_file, api_base=url) as kalshi:
        fills = [
            *kalshi.portfolio.get_fills(limit=1000, fetch_all=True),
            *kalshi.history.get_fills(limit=1000, fetch_all=True),
        ]
    rows = [
        (
            datetime.fromisoformat(fill.created_time),
            fill.fill_id,
            fill.order_id,
            fill.ticker,
            fill.outcome_side.value,
            Decimal(fill.yes_price_dollars),
            Decimal(fill.count_fp),
            Decimal(fill.fee_cost_dollars),
            fill.is_taker,
            fill.subaccount_number,
        )
        for fill in fills
    ]
    client = clickhouse_connect.get_client(
        host="127.0.0.1", port=int(http_port), password=password, database=database
    )
    columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    client.command(f"CREATE TABLE fills ({columns}) ENGINE = MergeTree ORDER BY ts")
    client.insert("fills", rows, column_names=list(COLUMNS))
    print(len(fills))


if __name__ == "__main__":
    main()
