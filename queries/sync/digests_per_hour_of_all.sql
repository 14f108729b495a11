-- title: count and content digest of all fills up to an end, hour by hour
-- why: over the whole table reading in the order of the sort key is cheaper than looking every row up;
--   where rows of the same version differ, both are counted
SELECT
    toStartOfHour(shown.1) AS hour,
    count() AS fills,
    sum(shown.2) AS digest_sum
FROM
(
    SELECT arrayJoin(/* include contents_shown */) AS shown
    FROM
    (
        SELECT /* include row_digests */
        FROM `mm_fills`
    )
    GROUP BY market_ticker, fill_id, exchange_order_id, __apart
)
WHERE shown.1 < {end:DateTime64(6, 'UTC')}
GROUP BY hour
SETTINGS optimize_aggregation_in_order = 1
