-- title: accept every item that a run refused, whatever it claims
-- why: a pass that refuses all it got is a finding; sightings are summed, so that this row adds none
INSERT INTO `mm_fills_rejected`
    (fingerprint, stage, reason, keys, raw_json, claims_fill, accepted, first_seen, last_seen, times_seen, run_id)
SELECT fingerprint, stage, reason, keys, raw_json, claims_fill, true, first_seen, last_seen, 0, run_id
FROM `mm_fills_rejected` FINAL
WHERE fingerprint IN (SELECT fingerprint FROM `mm_fills_rejected` WHERE run_id = {run_id:UUID}) AND NOT accepted
