-- title: rows per five minutes, and how even their minutes are
-- shows: the rows of each five minutes with the emptiest and the fullest of its minutes
-- normal: minutes of very different counts; lowest equal to highest, again and again, is a poller
SELECT
    toStartOfFiveMinutes(minute) AS five_minutes,
    sum(row_count) AS rows_in_all,
    if(count() < 5, 0, min(row_count)) AS lowest_minute,
    max(row_count) AS highest_minute
FROM
(
    SELECT toStartOfMinute(toTimeZone(ts, 'UTC')) AS minute, count() AS row_count
    FROM `mm_fills` /* include final */
    WHERE /* include window */ /* by hand: */ ts >= now() - INTERVAL 24 HOUR AND ts < now() /* end */
    GROUP BY minute
)
GROUP BY five_minutes
ORDER BY five_minutes
/* by hand: */ SETTINGS final = 1 /* end */
