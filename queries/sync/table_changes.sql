-- title: what truncate and migrate did to the fills table since a moment
-- why: their entries are done, tell no key, and say why or which table is there now; a run must not
--   move the watermark past one that set it back
SELECT
    count() AS entries,
    countIf(error != '') AS rewinds,
    countIf(error != '' AND watermark IS NULL) AS rewinds_to_none,
    minIf(watermark, error != '') AS earliest,
    argMax(table_identity, recorded_at) AS last_identity,
    min(fills_held) AS least_fills_held
FROM `mm_fills_runs` FINAL
WHERE status = 'done' AND key_digest = '' AND (error != '' OR table_identity != '')
    AND recorded_at > {since:DateTime64(6, 'UTC')}
