-- title: accept these claims, whose fills are stored
-- why: sightings are summed, so that this row adds none
/* include accepted_copies */ fingerprint IN {fingerprints:Array(String)}
