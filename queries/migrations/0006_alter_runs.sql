-- title: whose watermark a run recorded, for which table, and what it left open
-- why: a watermark counts for the account and the table that it was recorded for, and for no other
ALTER TABLE `mm_fills_runs` /* ON CLUSTER */
    ADD COLUMN IF NOT EXISTS `environment` LowCardinality(String) COMMENT 'prod, demo, or a digest of the root of the API',
    ADD COLUMN IF NOT EXISTS `key_digest` String COMMENT 'digest of the id of the API key',
    ADD COLUMN IF NOT EXISTS `settlements_watermark` Nullable(DateTime64(6, 'UTC')),
    ADD COLUMN IF NOT EXISTS `table_identity` String COMMENT 'of the fills table: changes when it is made anew, not when it is renamed',
    ADD COLUMN IF NOT EXISTS `fills_held` UInt64 COMMENT 'fills that the table held at least when the run ended',
    ADD COLUMN IF NOT EXISTS `open_breaks` UInt64 COMMENT 'breaks that the run left open, earlier ones outside its window included',
    ADD COLUMN IF NOT EXISTS `open_breaks_listed` String COMMENT 'JSON: kind, fill, order and time of the open breaks',
    ADD COLUMN IF NOT EXISTS `notes` Array(String) COMMENT 'what the operator was told besides'
