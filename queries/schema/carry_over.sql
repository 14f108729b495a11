-- title: carry the rows that are fills over into the new table, each once
-- why: they hold links the exchange cannot give back; of several rows of one fill the one with a link
--   gives its links to the one of the highest version. The id may be in its column or only in the
--   payload. What is no fill stays behind in the kept table. Numbers go through their text, for a
--   cast from Float64 would lose a cent now and then. Version 0: the exchange's own row replaces
--   it at the next sync. Repeatable: what is there is only copied again to bring a link.
INSERT INTO `mm_fills__to`
(/* include columns */)
SELECT
    __carry_moment,
    __carry_id,
    __row_order,
    __carry_ticker,
    __carry_side,
    __carry_action,
    __carry_outcome,
    __carry_book,
    toDecimal64(__carry_cents, 4),
    if(__carry_side = 'yes', toDecimal64(__carry_cents / 100, 6), 1 - toDecimal64(__carry_cents / 100, 6)),
    if(__carry_side = 'no', toDecimal64(__carry_cents / 100, 6), 1 - toDecimal64(__carry_cents / 100, 6)),
    toDecimal64(__carry_size, 2),
    __carry_fee_dollars,
    __carry_taker,
    __carry_subaccount,
    __carry_shard,
    __carry_outcome = '',
    __carry_synthetic,
    'legacy',
    __carry_run,
    0,
    __row_payload,
    0,
    tupleElement(__carry_links, 1),
    tupleElement(__carry_links, 2),
    tupleElement(__carry_links, 3),
    tupleElement(__carry_links, 4),
    __carry_price,
    __carry_fee /* include own_columns */
FROM
(
    SELECT
        *,
        (__carry_decision != toUUID('00000000-0000-0000-0000-000000000000'), __carry_client_order != '') AS __carry_linked,
        argMax(
            (__carry_client_order, __carry_engine, __carry_engine_version, __carry_decision),
            (__carry_linked, __carry_version)
        ) OVER (PARTITION BY __carry_id, __row_order) AS __carry_links
    FROM
    (
        SELECT
            ifNull(toUInt64OrZero(ifNull(toString(version), '')), 0) AS __carry_version,
            toDateTime64(ts, 6, 'UTC') AS __carry_moment,
            ifNull(toString(exchange_order_id), '') AS __row_order,
            ifNull(toString(raw_json), '') AS __row_payload,
            ifNull(toString(fill_id), '') AS __row_fill_id,
            /* include row_id */ AS __carry_id,
            ifNull(toString(market_ticker), '') AS __carry_ticker,
            ifNull(toString(side), '') AS __carry_side,
            ifNull(toString(action), '') AS __carry_action,
            ifNull(toString(outcome_side), '') AS __carry_outcome,
            ifNull(toString(book_side), '') AS __carry_book,
            toFloat64OrZero(ifNull(toString(price), '')) AS __carry_price,
            toFloat64OrZero(ifNull(toString(price_cents), '')) AS __carry_price_cents,
            if(
                __carry_price > 0 AND __carry_price < 1 AND (__carry_price_cents <= 0 OR abs(__carry_price * 100 - __carry_price_cents) < 1),
                toDecimal128OrZero(toString(round(__carry_price, 6)), 8) * 100,
                toDecimal128OrZero(ifNull(toString(price_cents), ''), 8)
            ) AS __carry_cents,
            toDecimal128OrZero(ifNull(toString(size), ''), 8) AS __carry_size,
            toDecimal64OrNull(ifNull(toString(fee_dollars), ''), 6) AS __carry_fee_dollars,
            toFloat64OrZero(ifNull(toString(fee), '')) AS __carry_fee,
            accurateCastOrNull(is_taker, 'Bool') AS __carry_taker,
            accurateCastOrNull(subaccount_number, 'UInt8') AS __carry_subaccount,
            accurateCastOrNull(exchange_index, 'UInt8') AS __carry_shard,
            ifNull(toString(id_synthetic), '') IN ('1', 'true') AS __carry_synthetic,
            toUUIDOrZero(ifNull(toString(run_id), '')) AS __carry_run,
            ifNull(toString(client_order_id), '') AS __carry_client_order,
            ifNull(toString(engine_instance_id), '') AS __carry_engine,
            ifNull(toString(engine_version), '') AS __carry_engine_version,
            toUUIDOrZero(ifNull(toString(decision_id), '')) AS __carry_decision /* include own_columns */
        FROM `all mm_fills__from`
    )
    WHERE __carry_id != ''
        AND __row_order != ''
        AND __carry_ticker != ''
        AND __carry_side IN ('yes', 'no')
        AND __carry_cents > 0
        AND __carry_cents < 100
        AND toDecimal64(__carry_cents, 4) = __carry_cents
        AND __carry_size > 0
        AND __carry_size < 10000000000000000
        AND toDecimal64(__carry_size, 2) = __carry_size
        AND __carry_moment > toDateTime64('2021-01-01 00:00:00', 6, 'UTC')
        AND __carry_moment <= {latest:DateTime64(6, 'UTC')}
)
WHERE (
        (__carry_id, __row_order) NOT IN (SELECT fill_id, exchange_order_id FROM `mm_fills__to`)
        OR (__carry_decision != toUUID('00000000-0000-0000-0000-000000000000') OR __carry_client_order != '')
            AND (__carry_id, __row_order) NOT IN (
                SELECT fill_id, exchange_order_id
                FROM `mm_fills__to` FINAL
                WHERE decision_id != toUUID('00000000-0000-0000-0000-000000000000') OR client_order_id != ''
            )
    )
ORDER BY __carry_version DESC, __carry_linked DESC, __carry_moment
LIMIT 1 BY __carry_id, __row_order
