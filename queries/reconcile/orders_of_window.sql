-- title: the orders of the fills in a window, those with the oldest fill first
-- why: an order that is older than the window is not listed in it, and has fills outside of it, too
SELECT exchange_order_id, any(market_ticker) AS market
FROM `mm_fills` /* include final */
WHERE /* include window */
GROUP BY exchange_order_id
ORDER BY min(ts), exchange_order_id
LIMIT 5000
