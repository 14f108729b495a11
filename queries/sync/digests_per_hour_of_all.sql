-- title: count and content digest of all fills up to an end, hour by hour
-- why: over the whole table FINAL is cheaper than looking every row up
SELECT
    toStartOfHour(ts) AS hour,
    count() AS fills,
    sum(/* content digest */) AS digest_sum
FROM `mm_fills` FINAL
WHERE ts < {end:DateTime64(6, 'UTC')}
GROUP BY hour
