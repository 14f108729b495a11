-- title: refused items that claim to be fills and were not accepted
SELECT
    count() AS claims,
    min(first_seen) AS first_time,
    max(last_seen) AS last_time,
    argMax(reason, last_seen) AS latest_reason,
    argMax(keys, last_seen) AS latest_keys
FROM `mm_fills_rejected` FINAL
WHERE claims_fill AND NOT accepted
