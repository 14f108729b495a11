-- title: rows that are no fills
-- shows: rows that no real fill can be, by what is wrong with them and what their payload really is
-- normal: nothing
SELECT
    problem,
    payload,
    count() AS row_count,
    uniqExact(exchange_order_id) AS orders,
    min(row_ts) AS first_ts,
    max(row_ts) AS last_ts,
    any(exchange_order_id) AS example_order,
    left(any(item), 200) AS example_payload
FROM
(
    SELECT
        toTimeZone(ts, 'UTC') AS row_ts,
        exchange_order_id,
        coalesce(COLUMNS('^raw_json$'), '') AS item,
        multiIf(
            coalesce(COLUMNS('^price_cents$'), 0) = 0, 'price 0',
            coalesce(COLUMNS('^price_cents$'), 0) < 0 OR coalesce(COLUMNS('^price_cents$'), 0) >= 100, 'price outside 0 to 1 dollar',
            ifNull(accurateCastOrNull(coalesce(COLUMNS('^size$'), NULL), 'Float64'), 0) <= 0, 'no quantity',
            coalesce(COLUMNS('^side$'), '') NOT IN ('yes', 'no'), 'side is neither yes nor no',
            exchange_order_id = '', 'no order id',
            market_ticker = '', 'no ticker',
            ''
        ) AS problem,
        multiIf(
            problem = '' AND coalesce(COLUMNS('^source$'), '') IN ('live', 'historical'), 'fill',
            item = '', 'none',
            NOT isValidJSON(item), 'no JSON',
            JSONHas(item, 'rfq_id') OR JSONHas(item, 'creator_order_id'), 'quote',
            JSONHas(item, 'market_result') OR JSONHas(item, 'settled_time'), 'settlement',
            JSONHas(item, 'initial_count_fp') OR JSONHas(item, 'remaining_count_fp') OR JSONHas(item, 'fill_count_fp')
                OR JSONHas(item, 'initial_count') OR JSONHas(item, 'remaining_count') OR JSONHas(item, 'status'), 'order',
            JSONHas(item, 'taker_side') OR JSONHas(item, 'taker_outcome_side') OR JSONHas(item, 'maker_order_id'), 'trade',
            JSONHas(item, 'realized_pnl') OR JSONHas(item, 'entry_price'), 'margin fill',
            JSONHas(item, 'position_fp') OR JSONHas(item, 'position'), 'position',
            JSONHas(item, 'yes_bid') OR JSONHas(item, 'yes_bid_dollars') OR JSONHas(item, 'last_price_dollars'), 'market',
            JSONHas(item, 'order_id') AND (JSONHas(item, 'fill_id') OR JSONHas(item, 'trade_id')), 'fill',
            'other'
        ) AS payload
    FROM `mm_fills` /* include final */
    WHERE /* include window */ /* by hand: */ ts >= now() - INTERVAL 24 HOUR AND ts < now() /* end */
)
WHERE problem != '' OR payload NOT IN ('fill', 'none', 'no JSON', 'other')
GROUP BY problem, payload
ORDER BY row_count DESC, problem, payload
LIMIT 50
/* by hand: */ SETTINGS final = 1 /* end */
