-- title: what the ledger keeps of one key's last finished run, and of the last run of any key
-- why: a watermark counts for the key and the table that it was recorded for; 1970 stands for none
SELECT
    countIf(key_digest = {key:String}),
    maxIf(recorded_at, key_digest = {key:String}),
    argMaxIf(ifNull(watermark, toDateTime64(0, 6, 'UTC')), recorded_at, key_digest = {key:String}),
    argMaxIf(table_identity, recorded_at, key_digest = {key:String}),
    argMaxIf(fills_held, recorded_at, key_digest = {key:String}),
    argMaxIf(toString(environment), recorded_at, environment != ''),
    countIf(key_digest NOT IN ('', {key:String})),
    countIf(key_digest = '' AND table_identity = '' AND error = ''),
    argMaxIf(open_breaks_listed, recorded_at, key_digest != '')
FROM `mm_fills_runs` FINAL
WHERE status = 'done'
