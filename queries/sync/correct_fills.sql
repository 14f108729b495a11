-- title: write corrected fills, each with the links and the operator's own columns of its row
-- reads: a table `block` that travels with the statement
-- why: what the exchange does not know is copied inside the engine, bit for bit whatever its type; of
--   several rows of the highest version the last inserted one, as FINAL mostly shows it
INSERT INTO `mm_fills`
(/* include written_columns */ /* include own_columns */)
SELECT
    block.ts, block.fill_id, block.exchange_order_id, block.market_ticker, block.side, block.action,
    block.outcome_side, block.book_side, block.price_cents, block.yes_price_dollars,
    block.no_price_dollars, block.size, block.fee_dollars, block.is_taker, block.subaccount_number,
    block.exchange_index, block.direction_inferred, block.id_synthetic, block.source, block.run_id,
    block.content_hash, block.raw_json, block.version,
    if(block.client_order_id = '', stored.__client_order, block.client_order_id),
    stored.__engine,
    stored.__engine_version,
    stored.__decision /* include own_columns_of_stored */
FROM
(
    /* include block_fills */
) AS block
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
    WHERE exchange_order_id IN (SELECT exchange_order_id FROM block)
        AND (fill_id, exchange_order_id) IN (SELECT fill_id, exchange_order_id FROM block)
    WINDOW same AS (PARTITION BY fill_id, exchange_order_id)
    ORDER BY version DESC, _part_index DESC, _part_offset DESC
    LIMIT 1 BY fill_id, exchange_order_id
) AS stored ON block.fill_id = stored.__fill AND block.exchange_order_id = stored.__order
