-- title: the last success, the latest failure, and what the latest sync left open
-- why: entries of truncate and migrate are no successes of a sync, but the watermark of the latest
--   entry counts, whoever made it; 1970 stands for no moment
SELECT
    countIf(status = 'done' AND is_sync) AS successes,
    argMaxIf(ifNull(finished_at, recorded_at), recorded_at, status = 'done' AND is_sync) AS succeeded_at,
    argMaxIf(ifNull(watermark, toDateTime64(0, 6, 'UTC')), recorded_at, status = 'done') AS watermark_at,
    countIf(status = 'failed') AS failures,
    argMaxIf(ifNull(finished_at, recorded_at), recorded_at, status = 'failed') AS failed_at,
    argMaxIf(toValidUTF8(error), recorded_at, status = 'failed') AS failed_because,
    argMaxIf(open_breaks, recorded_at, status = 'done' AND is_sync) AS last_open_breaks,
    argMaxIf(open_breaks_listed, recorded_at, status = 'done' AND is_sync) AS last_open_breaks_listed
FROM
(
    SELECT *, key_digest != '' OR (table_identity = '' AND error = '') AS is_sync
    FROM `mm_fills_runs` FINAL
)
