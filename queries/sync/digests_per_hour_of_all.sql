-- title: count and content digest of all fills up to an end, hour by hour
-- why: over the whole table reading in the order of the sort key is cheaper than looking every row up;
--   where rows of the same version differ, both are counted
SELECT
    toStartOfHour(shown.1) AS hour,
    count() AS fills,
    sum(shown.2) AS digest_sum
FROM
(
    SELECT arrayJoin(/* contents shown */) AS shown
    FROM
    (
        SELECT
            market_ticker,
            fill_id,
            exchange_order_id,
            if(fill_id = '', content_hash, 0) AS __apart,
            ts,
            /* content digest */ AS __digest,
            bitShiftLeft(toUInt128(version), 64) + __digest AS __greatest,
            bitShiftLeft(toUInt128(version), 64) + bitNot(__digest) AS __least
        FROM `mm_fills`
    )
    GROUP BY market_ticker, fill_id, exchange_order_id, __apart
)
WHERE shown.1 < {end:DateTime64(6, 'UTC')}
GROUP BY hour
SETTINGS optimize_aggregation_in_order = 1
