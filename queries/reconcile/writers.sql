-- title: who wrote the rows of these fills, and whether they still are as they were written
-- reads: a table `wanted` (fill_id, order_id) that travels with the query
-- why: a row that a sync wrote and the exchange no longer lists is another matter than one it never sent;
--   `content_hash` is what a sync computed when it wrote the row, so that a row changed later shows
SELECT
    fill_id,
    exchange_order_id,
    source IN ('live', 'historical') AS by_sync,
    content_hash = /* include content_digest */ AS as_written,
    price_cents > 0 AND price_cents < 100 AND size > 0 AND side IN ('yes', 'no') AND market_ticker != '' AS passes_gates
FROM `mm_fills` FINAL
WHERE (fill_id, exchange_order_id) IN (SELECT fill_id, order_id FROM wanted)
    AND market_ticker IN (SELECT market_ticker FROM `mm_fills` WHERE exchange_order_id IN (SELECT order_id FROM wanted))
