-- title: volume by hour of the day (UTC)
-- shows: when contracts are traded, and how much of them as maker
SELECT
    toHour(toTimeZone(ts, 'UTC')) AS hour,
    count() AS fills,
    sum(size) AS contracts,
    sumIf(size, NOT ifNull(is_taker, true)) AS maker_contracts
FROM `mm_fills` FINAL
GROUP BY hour
ORDER BY hour
