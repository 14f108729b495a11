-- title: add to the quarantine an accepted copy of each refused item for which a condition holds
-- why: sightings are summed, so that a copy with none changes nothing else
INSERT INTO `mm_fills_rejected`
    (fingerprint, stage, reason, keys, raw_json, claims_fill, accepted, first_seen, last_seen, times_seen, run_id)
SELECT fingerprint, stage, reason, keys, raw_json, claims_fill, true, first_seen, last_seen, 0, run_id
FROM `mm_fills_rejected` FINAL
WHERE
