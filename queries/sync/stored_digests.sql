-- title: what the table holds of these fills under whatever ticker, as digests
-- reads: a table `wanted` (fill_id, order_id) that travels with the query
-- why: for what the sort key does not find; without FINAL and by order id, which the bloom filter finds
--   fast in a large table
SELECT
    fill_id,
    exchange_order_id,
    argMax(/* include content_digest */, version) AS digest,
    max(version) AS top_version,
    /* include needs_care */ AS care
FROM `mm_fills`
WHERE exchange_order_id IN (SELECT order_id FROM wanted)
    AND (fill_id, exchange_order_id) IN (SELECT fill_id, order_id FROM wanted)
GROUP BY fill_id, exchange_order_id
