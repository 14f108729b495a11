-- title: accept every refused item that claims to be a fill, or contradicts another report of one
-- why: sightings are summed, so that this row adds none
INSERT INTO `mm_fills_rejected`
    (fingerprint, stage, reason, keys, raw_json, claims_fill, accepted, first_seen, last_seen, times_seen, run_id)
SELECT fingerprint, stage, reason, keys, raw_json, claims_fill, true, first_seen, last_seen, 0, run_id
FROM `mm_fills_rejected` FINAL
WHERE (claims_fill OR reason = 'contradicts_another_report') AND NOT accepted
