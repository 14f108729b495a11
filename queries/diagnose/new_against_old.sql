-- title: rows by writer and age
-- shows: the whole table by who wrote the row (sync: live or historical; migrate: legacy; an engine: none)
--   and whether it lies before, in or after the window, with what is wrong with the rows
-- normal: nothing at price 0, nothing outside the gates, no row without an id
SELECT
    coalesce(COLUMNS('^source$'), '') AS writer,
    /* include against_window */
        /* by hand: */ multiIf(ts >= now() - INTERVAL 24 HOUR AND ts < now(), 'in', ts < now() - INTERVAL 24 HOUR, 'before', 'after') /* end */ AS against_window,
    count() AS row_count,
    countIf(coalesce(COLUMNS('^price_cents$'), 0) = 0) AS price_0,
    countIf(coalesce(COLUMNS('^price_cents$'), 0) <= 0 OR coalesce(COLUMNS('^price_cents$'), 0) >= 100) AS price_outside,
    countIf(ifNull(accurateCastOrNull(coalesce(COLUMNS('^size$'), NULL), 'Float64'), 0) <= 0) AS no_quantity,
    countIf(coalesce(COLUMNS('^fill_id$'), '') = '') AS without_fill_id,
    min(toTimeZone(ts, 'UTC')) AS first_ts,
    max(toTimeZone(ts, 'UTC')) AS last_ts
FROM `mm_fills` /* include final */
GROUP BY writer, against_window
ORDER BY writer, first_ts
/* by hand: */ SETTINGS final = 1 /* end */
