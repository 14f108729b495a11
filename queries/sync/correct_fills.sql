-- title: write corrected fills, each with the links and the operator's own columns of its row
-- reads: a table `block` that travels with the statement
-- why: what the exchange does not know is copied inside the engine, bit for bit whatever its type; of
--   several rows of the highest version the last inserted one, as FINAL mostly shows it
INSERT INTO `mm_fills`
(/* include written_columns */ /* include own_columns */)
WITH sent AS
(
    /* include block_fills */
)
SELECT
    sent.ts, sent.fill_id, sent.exchange_order_id, sent.market_ticker, sent.side, sent.action,
    sent.outcome_side, sent.book_side, sent.price_cents, sent.yes_price_dollars,
    sent.no_price_dollars, sent.size, sent.fee_dollars, sent.is_taker, sent.subaccount_number,
    sent.exchange_index, sent.direction_inferred, sent.id_synthetic, sent.source, sent.run_id,
    sent.content_hash, sent.raw_json, sent.version,
    if(sent.client_order_id = '', stored.__client_order, sent.client_order_id),
    stored.__engine,
    stored.__engine_version,
    stored.__decision /* include own_columns_of_stored */
FROM sent
LEFT JOIN
(
    SELECT
        fill_id AS __fill,
        exchange_order_id AS __order,
        argMaxIf(client_order_id, (version, client_order_id), client_order_id != '') OVER same AS __client_order,
        argMaxIf(engine_instance_id, (version, engine_instance_id), engine_instance_id != '') OVER same AS __engine,
        argMaxIf(engine_version, (version, engine_version), engine_version != '') OVER same AS __engine_version,
        argMaxIf(decision_id, (version, decision_id), decision_id != toUUID('00000000-0000-0000-0000-000000000000'))
            OVER same AS __decision /* include own_columns */
    FROM `mm_fills`
    WHERE exchange_order_id IN (SELECT exchange_order_id FROM sent)
        AND (fill_id, exchange_order_id) IN (SELECT fill_id, exchange_order_id FROM sent)
    WINDOW same AS (PARTITION BY fill_id, exchange_order_id)
    ORDER BY version DESC, _part_index DESC, _part_offset DESC
    LIMIT 1 BY fill_id, exchange_order_id
) AS stored ON sent.fill_id = stored.__fill AND sent.exchange_order_id = stored.__order
