-- title: the ledger of sync runs, one row for each run
-- why: the watermark is that of the last finished run, never the newest fill in the table
CREATE TABLE IF NOT EXISTS `mm_fills_runs` /* ON CLUSTER */
(
    `run_id` UUID,
    `status` LowCardinality(String),
    `started_at` DateTime64(6, 'UTC'),
    `finished_at` Nullable(DateTime64(6, 'UTC')),
    `window_start` Nullable(DateTime64(6, 'UTC')),
    `window_end` DateTime64(6, 'UTC'),
    `watermark` Nullable(DateTime64(6, 'UTC')),
    `n_api` UInt64,
    `n_raw` UInt64,
    `n_real` UInt64,
    `n_valid` UInt64,
    `n_gated` UInt64,
    `n_new` UInt64,
    `n_corrected` UInt64,
    `n_known` UInt64,
    `n_duplicate` UInt64,
    `n_rejected` UInt64,
    `n_inserted` UInt64,
    `host` String,
    `pid` UInt32,
    `tool_version` String,
    `error` String,
    `corrections` String COMMENT 'JSON: which fields of corrected fills differed, and the first of them',
    `recorded_at` DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(recorded_at)
ORDER BY run_id
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'kalshi-fills: sync runs'
