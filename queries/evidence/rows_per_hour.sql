-- title: rows per hour of a window
SELECT toStartOfHour(toTimeZone(ts, 'UTC')) AS hour, count() AS row_count
FROM `mm_fills` /* FINAL */
WHERE ts >= /* start */ now() - INTERVAL 24 HOUR AND ts < /* end */ now()
    AND market_ticker IN (SELECT market_ticker FROM `mm_fills` WHERE ts >= /* start */ now() - INTERVAL 24 HOUR AND ts < /* end */ now())
GROUP BY hour
ORDER BY hour
