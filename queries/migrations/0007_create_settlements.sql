-- title: what the exchange settled, one row for each market and subaccount
-- why: the exchange has no archive of settlements: what is not stored while it lists them is lost
CREATE TABLE IF NOT EXISTS `mm_fills_settlements` /* ON CLUSTER */
(
    `settled_at` DateTime64(6, 'UTC'),
    `market_ticker` String,
    `event_ticker` String,
    `subaccount_number` UInt8,
    `market_result` LowCardinality(String),
    `yes_contracts` Decimal(18, 2) COMMENT 'of all fills of the market, those of closed positions included',
    `no_contracts` Decimal(18, 2) COMMENT 'of all fills of the market, those of closed positions included',
    `yes_cost_dollars` Decimal(18, 6),
    `no_cost_dollars` Decimal(18, 6),
    `revenue_dollars` Decimal(18, 6),
    `fee_dollars` Decimal(18, 6) COMMENT 'repeats the fees of the fills, adds none',
    `payout_per_yes_dollars` Nullable(Decimal(9, 6)),
    `exchange_index` Nullable(UInt8),
    `run_id` UUID,
    `raw_json` String CODEC(ZSTD(3)),
    `version` UInt64,
    INDEX settled_at_range settled_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (market_ticker, subaccount_number)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'kalshi-fills: settlements'
