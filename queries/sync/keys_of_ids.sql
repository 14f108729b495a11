-- title: the stored fills that have one of these ids
-- reads: a table `wanted` (fill_id) that travels with the query
-- why: a refused item may lack the order id; the time leaves out what lies far behind in a large table
SELECT DISTINCT fill_id, exchange_order_id
FROM `mm_fills`
WHERE ts >= {since:DateTime64(6, 'UTC')} AND fill_id IN (SELECT fill_id FROM wanted)
