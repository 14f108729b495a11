-- title: the payloads of these fills, as the row that counts of each has it
-- reads: a table `wanted` (fill_id, order_id) that travels with the query
-- why: a report that contradicts the stored one is held against what the exchange sent, not against
--   a row that was completed from several reports
SELECT
    fill_id,
    exchange_order_id,
    argMax(raw_json, version) AS payload
FROM `mm_fills`
WHERE exchange_order_id IN (SELECT order_id FROM wanted)
    AND (fill_id, exchange_order_id) IN (SELECT fill_id, order_id FROM wanted)
GROUP BY fill_id, exchange_order_id
