-- title: rows by price, five cents at a time
-- shows: how many rows have which price of their side; below 0 or at 0 and at 100 or above apart
-- normal: nothing at 0, nothing at 100 or above, the rest wherever the markets were
SELECT
    multiIf(cents <= 0, '0 or less', cents >= 100, '100 or more', concat(toString(5 * intDiv(toInt64(cents), 5)), ' to ', toString(5 * intDiv(toInt64(cents), 5) + 5))) AS price_in_cents,
    count() AS row_count,
    round(100 * row_count / sum(row_count) OVER (), 1) AS percent
FROM
(
    SELECT toFloat64(coalesce(COLUMNS('^price_cents$'), 0)) AS cents
    FROM `mm_fills` /* include final */
    WHERE /* include window */ /* by hand: */ ts >= now() - INTERVAL 24 HOUR AND ts < now() /* end */
)
GROUP BY price_in_cents
ORDER BY min(cents)
/* by hand: */ SETTINGS final = 1 /* end */
