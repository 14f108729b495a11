-- title: fills with several rows of the same highest version and not the same content
-- why: which of them FINAL shows depends on the order of parts, and changes with merges
SELECT count() AS fills, min(first_ts) AS oldest
FROM
(
    SELECT argMax(contents, version) AS top_contents, min(first_ts) AS first_ts
    FROM
    (
        SELECT
            market_ticker,
            fill_id,
            exchange_order_id,
            version,
            uniqExact(/* include content_digest */) AS contents,
            min(ts) AS first_ts
        FROM `mm_fills`
        WHERE fill_id != '' AND cityHash64(market_ticker, fill_id, exchange_order_id) IN (
            SELECT cityHash64(market_ticker, fill_id, exchange_order_id) AS identity
            FROM `mm_fills`
            WHERE fill_id != ''
            GROUP BY identity
            HAVING count() > 1
        )
        GROUP BY market_ticker, fill_id, exchange_order_id, version
    )
    GROUP BY market_ticker, fill_id, exchange_order_id
)
WHERE top_contents > 1
