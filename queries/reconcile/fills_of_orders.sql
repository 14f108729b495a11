-- title: the fills of these orders, of any age, each with its content
-- reads: a table `wanted` (order_id) that travels with the query
-- why: names the fills that make an order differ
SELECT /* include content_texts */ AS content
FROM `mm_fills` FINAL
WHERE exchange_order_id IN (SELECT order_id FROM wanted)
    AND market_ticker IN (SELECT market_ticker FROM `mm_fills` WHERE exchange_order_id IN (SELECT order_id FROM wanted))
