-- title: the ledger of applied migrations
-- why: append-only; a version is applied once, and its text must not change afterwards
CREATE TABLE IF NOT EXISTS `mm_fills_migrations` /* ON CLUSTER */
(
    `version` UInt32,
    `name` String,
    `checksum` String,
    `applied_at` DateTime64(6, 'UTC'),
    `tool_version` String
)
ENGINE = MergeTree
ORDER BY (version, applied_at)
COMMENT 'kalshi-fills: applied migrations'
