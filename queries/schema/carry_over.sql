-- title: carry the rows that are fills over into the new table, each once
-- why: they hold links the exchange cannot give back; of several rows of one fill the one with the link
--   wins; the id may be in its column or only in the payload. What is no fill stays behind in the
--   kept table. Numbers go through their text, for a cast from Float64 would lose a cent now and
--   then. Version 0: the exchange's own row replaces it at the next sync. Repeatable.
INSERT INTO `mm_fills__next`
(
    ts, fill_id, exchange_order_id, market_ticker, side, action, outcome_side, book_side, price_cents,
    yes_price_dollars, no_price_dollars, size, fee_dollars, is_taker, subaccount_number,
    exchange_index, direction_inferred, id_synthetic, source, run_id, content_hash, raw_json, version,
    client_order_id, engine_instance_id, engine_version, decision_id, price, fee /* own columns */
)
SELECT
    old_moment,
    old_id,
    old_order,
    old_ticker,
    old_side,
    old_action,
    old_outcome,
    old_book,
    toDecimal64(old_cents, 4),
    if(old_side = 'yes', toDecimal64(old_cents / 100, 6), 1 - toDecimal64(old_cents / 100, 6)),
    if(old_side = 'no', toDecimal64(old_cents / 100, 6), 1 - toDecimal64(old_cents / 100, 6)),
    toDecimal64(old_size, 2),
    old_fee_dollars,
    old_taker,
    old_subaccount,
    old_shard,
    old_outcome = '',
    old_synthetic,
    'legacy',
    old_run,
    0,
    old_payload,
    0,
    old_client_order,
    old_engine,
    old_engine_version,
    old_decision,
    old_price,
    old_fee /* own columns */
FROM
(
    SELECT
        *,
        toDateTime64(ts, 6, 'UTC') AS old_moment,
        ifNull(toString(exchange_order_id), '') AS old_order,
        ifNull(toString(raw_json), '') AS old_payload,
        multiIf(
            ifNull(toString(fill_id), '') != '', ifNull(toString(fill_id), ''),
            JSONExtractString(old_payload, 'order_id') != old_order, '',
            JSONExtractString(old_payload, 'fill_id') != '', JSONExtractString(old_payload, 'fill_id'),
            JSONExtractString(old_payload, 'trade_id')
        ) AS old_id,
        ifNull(toString(market_ticker), '') AS old_ticker,
        ifNull(toString(side), '') AS old_side,
        ifNull(toString(action), '') AS old_action,
        ifNull(toString(outcome_side), '') AS old_outcome,
        ifNull(toString(book_side), '') AS old_book,
        toFloat64OrZero(ifNull(toString(price), '')) AS old_price,
        toFloat64OrZero(ifNull(toString(price_cents), '')) AS old_price_cents,
        if(
            old_price > 0 AND old_price < 1 AND (old_price_cents <= 0 OR abs(old_price * 100 - old_price_cents) < 1),
            toDecimal128OrZero(toString(round(old_price, 6)), 8) * 100,
            toDecimal128OrZero(ifNull(toString(price_cents), ''), 8)
        ) AS old_cents,
        toDecimal128OrZero(ifNull(toString(size), ''), 8) AS old_size,
        toDecimal64OrNull(ifNull(toString(fee_dollars), ''), 6) AS old_fee_dollars,
        toFloat64OrZero(ifNull(toString(fee), '')) AS old_fee,
        accurateCastOrNull(is_taker, 'Bool') AS old_taker,
        accurateCastOrNull(subaccount_number, 'UInt8') AS old_subaccount,
        accurateCastOrNull(exchange_index, 'UInt8') AS old_shard,
        ifNull(toString(id_synthetic), '') IN ('1', 'true') AS old_synthetic,
        toUUIDOrZero(ifNull(toString(run_id), '')) AS old_run,
        ifNull(toString(client_order_id), '') AS old_client_order,
        ifNull(toString(engine_instance_id), '') AS old_engine,
        ifNull(toString(engine_version), '') AS old_engine_version,
        toUUIDOrZero(ifNull(toString(decision_id), '')) AS old_decision
    FROM /* all replicas of */ `mm_fills`
)
WHERE old_id != ''
    AND old_order != ''
    AND old_ticker != ''
    AND old_side IN ('yes', 'no')
    AND old_cents > 0
    AND old_cents < 100
    AND toDecimal64(old_cents, 4) = old_cents
    AND old_size > 0
    AND old_size < 10000000000000000
    AND toDecimal64(old_size, 2) = old_size
    AND old_moment > toDateTime64('2021-01-01 00:00:00', 6, 'UTC')
    AND old_moment <= {latest:DateTime64(6, 'UTC')}
ORDER BY
    old_decision != toUUID('00000000-0000-0000-0000-000000000000') DESC,
    old_client_order != '' DESC,
    old_moment
LIMIT 1 BY old_id, old_order
