-- title: what the ledger keeps of one key's last finished run, and of the last run of any key
-- why: a watermark counts for the key and the table that it was recorded for; 1970 stands for none
SELECT
    countIf(key_digest = {key:String}) AS own_runs,
    maxIf(recorded_at, key_digest = {key:String}) AS own_recorded_at,
    argMaxIf(ifNull(watermark, toDateTime64(0, 6, 'UTC')), recorded_at, key_digest = {key:String}) AS own_watermark,
    argMaxIf(table_identity, recorded_at, key_digest = {key:String}) AS own_identity,
    argMaxIf(fills_held, recorded_at, key_digest = {key:String}) AS own_fills_held,
    argMaxIf(toString(environment), recorded_at, environment != '') AS last_environment,
    countIf(key_digest NOT IN ('', {key:String})) AS runs_of_others,
    countIf(key_digest = '' AND table_identity = '' AND error = '') AS runs_without_key,
    argMaxIf(open_breaks_listed, recorded_at, key_digest != '') AS last_open_breaks,
    argMaxIf(ifNull(settlements_watermark, toDateTime64(0, 6, 'UTC')), recorded_at, key_digest = {key:String}) AS own_settlements_watermark,
    argMaxIf(settlements_subaccounts, recorded_at, key_digest = {key:String}) AS own_settlements_subaccounts,
    argMaxIf(settlements_held, recorded_at, key_digest = {key:String}) AS own_settlements_held
FROM `mm_fills_runs` FINAL
WHERE status = 'done'
