-- title: contracts and fees of these orders, over all their fills
-- reads: a table `wanted` (order_id) that travels with the query
SELECT
    exchange_order_id,
    sum(size) AS contracts,
    sum(ifNull(fee_dollars, 0)) AS fees_dollars,
    countIf(fee_dollars IS NULL) AS fees_unknown
FROM `mm_fills` FINAL
WHERE exchange_order_id IN (SELECT order_id FROM wanted)
    AND market_ticker IN (SELECT market_ticker FROM `mm_fills` WHERE exchange_order_id IN (SELECT order_id FROM wanted))
GROUP BY exchange_order_id
