-- title: copy the fills whose id only their payload holds, under it
-- why: version 0, so that the exchange's own row replaces it at the next sync and keeps its links
INSERT INTO `mm_fills__to`
(/* include columns */)
WITH fill_id AS __row_fill_id, raw_json AS __row_payload, exchange_order_id AS __row_order
SELECT
    ts,
    /* include row_id */,
    exchange_order_id,
    market_ticker,
    side,
    action,
    outcome_side,
    book_side,
    price_cents,
    yes_price_dollars,
    no_price_dollars,
    size,
    fee_dollars,
    is_taker,
    subaccount_number,
    exchange_index,
    direction_inferred,
    id_synthetic,
    'legacy',
    run_id,
    0,
    raw_json,
    0,
    client_order_id,
    engine_instance_id,
    engine_version,
    decision_id,
    price,
    fee /* include own_columns_as_read */
FROM `mm_fills__from`
WHERE /* include row_digest */ IN (SELECT __row FROM `mm_fills__verdicts` WHERE __reason = 'mended')
