-- title: what the table holds of these fills under the exchange's ticker, as digests
-- reads: a table `wanted` (market_ticker, fill_id, order_id) that travels with the query
-- why: by the sort key, so that the cost follows the number of fills and not the size of the table
SELECT
    fill_id,
    exchange_order_id,
    argMax(/* include content_digest */, version) AS digest,
    max(version) AS top_version,
    /* include needs_care */ AS care
FROM `mm_fills`
WHERE (market_ticker, fill_id, exchange_order_id) IN (SELECT market_ticker, fill_id, order_id FROM wanted)
GROUP BY fill_id, exchange_order_id
