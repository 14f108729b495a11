-- title: rows per hour of a window
SELECT toStartOfHour(toTimeZone(ts, 'UTC')) AS hour, count() AS row_count
FROM `mm_fills` /* include final */
WHERE /* include window */
GROUP BY hour
ORDER BY hour
