-- title: refused items that claim to be fills, were not accepted, and were not refused again by this run
-- why: by fingerprint, page by page; payloads are read of these alone, however large the quarantine is
SELECT
    fingerprint,
    any(raw_json) AS payload
FROM `mm_fills_rejected`
WHERE fingerprint IN (
    SELECT fingerprint
    FROM `mm_fills_rejected`
    WHERE fingerprint IN (SELECT fingerprint FROM `mm_fills_rejected` WHERE claims_fill AND fingerprint > {after:String})
    GROUP BY fingerprint
    HAVING NOT max(accepted) AND NOT max(run_id = {run_id:UUID})
    ORDER BY fingerprint
    LIMIT {at_most:UInt64}
)
GROUP BY fingerprint
ORDER BY fingerprint
