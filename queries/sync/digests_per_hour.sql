-- title: count and content digest of the fills in a window, hour by hour
-- why: finds the rows by time first, then the version that counts of each, so that a small window of a
--   large table is read without FINAL, and a row whose time was corrected counts once; where rows of
--   the same version differ, both are counted, for which of them FINAL shows is undefined
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
        WHERE (market_ticker, fill_id, exchange_order_id) IN (
            SELECT market_ticker, fill_id, exchange_order_id
            FROM `mm_fills`
            WHERE ts >= {start:DateTime64(6, 'UTC')} AND ts < {end:DateTime64(6, 'UTC')}
        )
    )
    GROUP BY market_ticker, fill_id, exchange_order_id, __apart
)
WHERE shown.1 >= {start:DateTime64(6, 'UTC')} AND shown.1 < {end:DateTime64(6, 'UTC')}
GROUP BY hour
