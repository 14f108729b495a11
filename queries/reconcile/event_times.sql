-- title: rows whose time is not that of their payload
-- why: an engine that writes now() instead of the exchange's time; sync's own rows need no look, and of
--   the others the newest are enough to tell
SELECT
    count() AS looked_at,
    countIf(abs(dateDiff('second', row_ts, event_ts)) > 2) AS differing,
    maxIf(abs(dateDiff('second', row_ts, event_ts)), abs(dateDiff('second', row_ts, event_ts)) > 2) AS worst_seconds
FROM
(
    SELECT
        ts AS row_ts,
        if(
            JSONExtractString(item, 'created_time') != '',
            parseDateTime64BestEffortOrNull(JSONExtractString(item, 'created_time'), 6, 'UTC'),
            multiIf(
                JSONExtractInt(item, 'ts') > 100000000000, fromUnixTimestamp64Milli(JSONExtractInt(item, 'ts'), 'UTC'),
                JSONExtractInt(item, 'ts') > 0, fromUnixTimestamp64Milli(JSONExtractInt(item, 'ts') * 1000, 'UTC'),
                NULL
            )
        ) AS event_ts
    FROM
    (
        SELECT ts, coalesce(COLUMNS('^raw_json$'), '') AS item
        FROM `mm_fills` /* include final */
        WHERE coalesce(COLUMNS('^source$'), '') NOT IN ('live', 'historical')
            AND coalesce(COLUMNS('^raw_json$'), '') != ''
        ORDER BY ts DESC
        LIMIT 100000
    )
    WHERE JSONExtractString(item, 'order_id') != '' AND (JSONHas(item, 'fill_id') OR JSONHas(item, 'trade_id'))
)
WHERE event_ts IS NOT NULL
