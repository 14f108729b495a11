-- title: the rows of every order in a window, the largest first
-- why: in a table without ids the rows of an order are all that can be held against the exchange
SELECT exchange_order_id, any(market_ticker) AS market, count() AS row_count
FROM `mm_fills` /* include final */
WHERE /* include in_window */
GROUP BY exchange_order_id
ORDER BY row_count DESC, exchange_order_id
LIMIT 1000000
