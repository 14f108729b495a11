-- title: whether what the table holds of a fill needs a closer look although its content may be right
-- why: FINAL would choose among several rows of the highest version; a row under a second ticker is stale; a correction of the ticker that was cut short left a row without a hash; links were lost
(
    countEqual(groupArray(version), max(version)) > 1
    OR uniqExact(market_ticker) > 1
    OR max(version) > 0 AND argMax(content_hash, version) = 0
    OR /* include links_lost */
)
