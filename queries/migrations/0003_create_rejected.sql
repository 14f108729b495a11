-- title: the quarantine, one row for each distinct refused item
-- why: sightings add up by themselves, whichever host saw the item, without reading first
CREATE TABLE IF NOT EXISTS `mm_fills_rejected` /* ON CLUSTER */
(
    `fingerprint` String,
    `stage` SimpleAggregateFunction(anyLast, String),
    `reason` SimpleAggregateFunction(anyLast, String),
    `keys` SimpleAggregateFunction(anyLast, Array(String)),
    `raw_json` SimpleAggregateFunction(anyLast, String) CODEC(ZSTD(3)),
    `claims_fill` SimpleAggregateFunction(max, Bool),
    `accepted` SimpleAggregateFunction(max, Bool),
    `first_seen` SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    `last_seen` SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    `times_seen` SimpleAggregateFunction(sum, UInt64),
    `run_id` SimpleAggregateFunction(anyLast, UUID)
)
ENGINE = AggregatingMergeTree
ORDER BY fingerprint
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'kalshi-fills: quarantine'
