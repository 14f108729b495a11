-- title: accept every refused item that holds a sync back: fills, second reports, settlements
-- why: sightings are summed, so that this row adds none
/* include accepted_copies */ (claims_fill OR reason = 'contradicts_another_report' OR stage = 'settlement') AND NOT accepted
