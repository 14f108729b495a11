-- title: rows per minute
-- shows: how many fills the table has of each minute that has any, how many of them at price 0
-- normal: bursts and quiet minutes; the same count minute after minute is a clock's work, not trading's
SELECT
    toStartOfMinute(toTimeZone(ts, 'UTC')) AS minute,
    count() AS row_count,
    countIf(coalesce(COLUMNS('^price_cents$'), 0) = 0) AS price_0
FROM `mm_fills` /* FINAL */
WHERE ts >= /* start */ now() - INTERVAL 24 HOUR AND ts < /* end */ now()
    AND market_ticker IN (SELECT market_ticker FROM `mm_fills` WHERE ts >= /* start */ now() - INTERVAL 24 HOUR AND ts < /* end */ now())
GROUP BY minute
ORDER BY minute
SETTINGS final = 1
