-- title: the table of fills, one logical row for each (fill_id, exchange_order_id)
-- why: neither the time nor a partition is part of the key, so that a corrected time replaces its
--   row; rows with a blank fill_id are kept apart by a random content_hash, for nothing else can
--   tell them apart; every column another writer may leave out has a meaning when left out
CREATE TABLE IF NOT EXISTS `mm_fills` /* ON CLUSTER */
(
    `ts` DateTime64(6, 'UTC'),
    `fill_id` String,
    `exchange_order_id` String,
    `market_ticker` String,
    `side` LowCardinality(String),
    `action` LowCardinality(String),
    `outcome_side` LowCardinality(String),
    `book_side` LowCardinality(String),
    `price_cents` Decimal(9, 4),
    `yes_price_dollars` Decimal(9, 6) DEFAULT multiIf(price_cents <= 0 OR price_cents >= 100, toDecimal32(0, 6), side = 'yes', toDecimal64(price_cents, 6) / 100, side = 'no', 1 - toDecimal64(price_cents, 6) / 100, toDecimal32(0, 6)),
    `no_price_dollars` Decimal(9, 6) DEFAULT if(yes_price_dollars = 0, toDecimal32(0, 6), 1 - yes_price_dollars),
    `size` Decimal(18, 2),
    `fee_dollars` Nullable(Decimal(18, 6)),
    `is_taker` Nullable(Bool),
    `subaccount_number` Nullable(UInt8),
    `exchange_index` Nullable(UInt8),
    `direction_inferred` Bool,
    `id_synthetic` Bool,
    `source` LowCardinality(String),
    `run_id` UUID,
    `content_hash` UInt64 DEFAULT if(fill_id = '', rand64(), 0),
    `raw_json` String CODEC(ZSTD(3)),
    `version` UInt64 DEFAULT 0,
    `client_order_id` String DEFAULT '',
    `engine_instance_id` String DEFAULT '',
    `engine_version` String DEFAULT '',
    `decision_id` UUID DEFAULT toUUID('00000000-0000-0000-0000-000000000000'),
    `price` Float64 DEFAULT toFloat64(price_cents) / 100,
    `fee` Float64 DEFAULT toFloat64(ifNull(fee_dollars, 0)),
    INDEX ts_range ts TYPE minmax GRANULARITY 1,
    INDEX order_bloom exchange_order_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (market_ticker, fill_id, exchange_order_id, if(fill_id = '', content_hash, 0))
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'kalshi-fills: fills'
