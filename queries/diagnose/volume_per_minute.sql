-- title: rows per minute
-- shows: how many fills the table has of each minute that has any, how many of them at price 0
-- normal: bursts and quiet minutes; the same count minute after minute is a clock's work, not trading's
SELECT
    /* by hand: */ toDateTime( /* end */ toUnixTimestamp(toStartOfMinute(toTimeZone(ts, 'UTC'))) /* by hand: */ , 'UTC') /* end */ AS minute,
    count() AS row_count,
    countIf(coalesce(COLUMNS('^price_cents$'), 0) = 0) AS price_0
FROM `mm_fills` /* include final */
WHERE /* include window */ /* by hand: */ ts >= now() - INTERVAL 24 HOUR AND ts < now() /* end */
GROUP BY minute
ORDER BY minute
/* by hand: */ SETTINGS final = 1 /* end */
