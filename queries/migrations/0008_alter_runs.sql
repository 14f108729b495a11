-- title: how far the settlements were read, and of which subaccounts
-- why: a subaccount that was not read yet, or a table that lost rows, is read from the start
ALTER TABLE `mm_fills_runs` /* ON CLUSTER */
    ADD COLUMN IF NOT EXISTS `settlements_subaccounts` Array(UInt8) COMMENT 'subaccounts whose settlements are stored up to settlements_watermark',
    ADD COLUMN IF NOT EXISTS `settlements_held` UInt64 COMMENT 'settlements that their table held at least when the run ended'
