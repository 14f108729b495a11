-- title: the fills of a time range, each with its content
-- why: names the breaks of an hour whose digests differ; of a fill with several contents of the highest
--   version every one is a row, for which of them FINAL shows is undefined
SELECT content
FROM
(
    SELECT DISTINCT __content AS content, __apart
    FROM
    (
        SELECT
            ts,
            version,
            /* include content_texts */ AS __content,
            if(fill_id = '', content_hash, 0) AS __apart,
            max(version) OVER (PARTITION BY market_ticker, fill_id, exchange_order_id, __apart) AS __top_version
        FROM `mm_fills`
        WHERE (market_ticker, fill_id, exchange_order_id) IN (
            SELECT market_ticker, fill_id, exchange_order_id
            FROM `mm_fills`
            WHERE /* include in_window */
        )
    )
    WHERE version = __top_version AND /* include in_window */
)
