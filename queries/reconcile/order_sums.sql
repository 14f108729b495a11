-- title: contracts and fees of these orders, over all their fills in the order's market
-- reads: a table `wanted` (order_id, ticker) that travels with the query
-- why: the sort key begins with the ticker, so that the cost follows the markets of the orders and not
--   the size of the table; an order that differs is looked up whatever the ticker of its rows
SELECT
    exchange_order_id,
    sum(size) AS contracts,
    sum(ifNull(fee_dollars, 0)) AS fees_dollars,
    countIf(fee_dollars IS NULL) AS fees_unknown
FROM `mm_fills` FINAL
WHERE exchange_order_id IN (SELECT order_id FROM wanted)
    AND market_ticker IN (SELECT ticker FROM wanted)
GROUP BY exchange_order_id
