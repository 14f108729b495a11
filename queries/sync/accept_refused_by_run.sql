-- title: accept every item that a run refused, whatever it claims
-- why: a pass that refuses all it got is a finding; sightings are summed, so that this row adds none
/* include accepted_copies */ fingerprint IN (SELECT fingerprint FROM `mm_fills_rejected` WHERE run_id = {run_id:UUID}) AND NOT accepted
