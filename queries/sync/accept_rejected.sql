-- title: accept every refused item that claims to be a fill, or contradicts another report of one
-- why: sightings are summed, so that this row adds none
/* include accepted_copies */ (claims_fill OR reason = 'contradicts_another_report') AND NOT accepted
