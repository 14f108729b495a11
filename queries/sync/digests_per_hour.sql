-- title: count and content digest of the fills in a window, hour by hour
-- why: finds the rows by time first, then the version that counts of each, so that a small window of a
--   large table is read without FINAL, and a row whose time was corrected counts once
SELECT
    toStartOfHour(executed_at) AS hour,
    count() AS fills,
    sum(digest) AS digest_sum
FROM
(
    SELECT
        argMax(ts, version) AS executed_at,
        argMax(/* content digest */, version) AS digest
    FROM `mm_fills`
    WHERE (market_ticker, fill_id, exchange_order_id) IN (
        SELECT market_ticker, fill_id, exchange_order_id
        FROM `mm_fills`
        WHERE ts >= {start:DateTime64(6, 'UTC')} AND ts < {end:DateTime64(6, 'UTC')}
    )
    GROUP BY market_ticker, fill_id, exchange_order_id, if(fill_id = '', content_hash, 0)
)
WHERE executed_at >= {start:DateTime64(6, 'UTC')} AND executed_at < {end:DateTime64(6, 'UTC')}
GROUP BY hour
