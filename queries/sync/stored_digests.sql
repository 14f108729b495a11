-- title: what the table holds of these fills, as digests
-- reads: a table `wanted` (fill_id, order_id) that travels with the query
-- why: without FINAL and by order id, which the bloom filter finds fast in a large table; `care` says
--   that a row needs a closer look although its content may be right: it stands under a second
--   ticker as well, or a row that it replaced has links that it lacks
SELECT
    fill_id,
    exchange_order_id,
    argMax(/* content digest */, version) AS digest,
    max(version) AS top_version,
    uniqExact(market_ticker) > 1 OR /* links lost */ AS care
FROM `mm_fills`
WHERE exchange_order_id IN (SELECT order_id FROM wanted)
    AND (fill_id, exchange_order_id) IN (SELECT fill_id, order_id FROM wanted)
GROUP BY fill_id, exchange_order_id
