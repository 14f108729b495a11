-- title: payloads that contradict another report of the same fill, the latest first
-- why: a pass waits for every report of such a fill before it stores one; found by reason first, so
--   that of a large quarantine only these are read whole
SELECT any(raw_json) AS payload
FROM `mm_fills_rejected`
WHERE fingerprint IN (SELECT fingerprint FROM `mm_fills_rejected` WHERE reason = 'contradicts_another_report')
GROUP BY fingerprint
ORDER BY max(last_seen) DESC
LIMIT 10000
