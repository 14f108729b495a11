-- title: write corrected fills, each with the links and the operator's own columns of its row
-- reads: a table `block` that travels with the statement, its values as texts
-- why: what the exchange does not know is copied inside the engine, bit for bit whatever its type; of
--   several rows of the highest version the last inserted one, as FINAL mostly shows it
INSERT INTO `mm_fills`
(
    ts, fill_id, exchange_order_id, market_ticker, side, action, outcome_side, book_side, price_cents,
    yes_price_dollars, no_price_dollars, size, fee_dollars, is_taker, subaccount_number,
    exchange_index, direction_inferred, id_synthetic, source, run_id, content_hash, raw_json, version,
    client_order_id, engine_instance_id, engine_version, decision_id /* own columns */
)
SELECT
    block.ts, block.fill_id, block.exchange_order_id, block.market_ticker, block.side, block.action,
    block.outcome_side, block.book_side, block.price_cents, block.yes_price_dollars,
    block.no_price_dollars, block.size, block.fee_dollars, block.is_taker, block.subaccount_number,
    block.exchange_index, block.direction_inferred, block.id_synthetic, block.source, block.run_id,
    block.content_hash, block.raw_json, block.version,
    if(block.client_order_id = '', held.__client_order, block.client_order_id),
    held.__engine,
    held.__engine_version,
    held.__decision /* own columns of held */
FROM block
LEFT JOIN
(
    SELECT
        fill_id AS __fill,
        exchange_order_id AS __order,
        argMaxIf(client_order_id, (version, client_order_id), client_order_id != '') OVER same AS __client_order,
        argMaxIf(engine_instance_id, (version, engine_instance_id), engine_instance_id != '') OVER same AS __engine,
        argMaxIf(engine_version, (version, engine_version), engine_version != '') OVER same AS __engine_version,
        argMaxIf(decision_id, (version, decision_id), decision_id != toUUID('00000000-0000-0000-0000-000000000000'))
            OVER same AS __decision /* own columns */
    FROM `mm_fills`
    WHERE exchange_order_id IN (SELECT exchange_order_id FROM block)
        AND (fill_id, exchange_order_id) IN (SELECT fill_id, exchange_order_id FROM block)
    WINDOW same AS (PARTITION BY fill_id, exchange_order_id)
    ORDER BY version DESC, _part_index DESC, _part_offset DESC
    LIMIT 1 BY fill_id, exchange_order_id
) AS held ON block.fill_id = held.__fill AND block.exchange_order_id = held.__order
