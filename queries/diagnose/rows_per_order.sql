-- title: the orders with the most rows
-- shows: how many rows and how many distinct fills each of the largest orders has
-- normal: a handful of rows an order, as many as fills; thousands of rows of one order are no fills
SELECT
    exchange_order_id,
    any(market_ticker) AS market,
    count() AS row_count,
    uniqExactIf(coalesce(COLUMNS('^fill_id$'), ''), coalesce(COLUMNS('^fill_id$'), '') != '') AS fill_ids,
    min(toTimeZone(ts, 'UTC')) AS first_ts,
    max(toTimeZone(ts, 'UTC')) AS last_ts
FROM `mm_fills` /* include final */
WHERE /* include window */ /* by hand: */ ts >= now() - INTERVAL 24 HOUR AND ts < now() /* end */
GROUP BY exchange_order_id
ORDER BY row_count DESC, exchange_order_id
LIMIT 50
/* by hand: */ SETTINGS final = 1 /* end */
