-- title: count and content digest of the fills in a window, hour by hour, where no row replaces another
-- why: after a first sync that is so, and then each row counts as it is, at half the cost; where one does
--   replace another, or the table is so large that finding out costs much memory, there is no hour
SELECT
    toStartOfHour(ts) AS hour,
    count() AS fills,
    sum(/* include content_digest */) AS digest_sum
FROM `mm_fills`
WHERE /* include in_window */ AND (
    SELECT count() <= {most_rows:UInt64} AND uniqExact(__row) = count()
    FROM
    (
        SELECT sipHash64(market_ticker, fill_id, exchange_order_id, if(fill_id = '', content_hash, 0)) AS __row
        FROM `mm_fills`
        LIMIT {most_rows:UInt64} + 1
    )
)
GROUP BY hour
