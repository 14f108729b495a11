-- title: what the table holds of these fills, whole
-- reads: a table `wanted` (fill_id, order_id) that travels with the query
-- why: to say what differs, and to keep the links of a row that is replaced
SELECT
    fill_id,
    exchange_order_id,
    argMax(/* content texts */, version) AS content,
    max(version) AS top_version,
    groupUniqArray(market_ticker) AS tickers,
    argMaxIf(client_order_id, version, client_order_id != '') AS link_client_order_id,
    argMaxIf(engine_instance_id, version, engine_instance_id != '') AS link_engine_instance_id,
    argMaxIf(engine_version, version, engine_version != '') AS link_engine_version,
    argMaxIf(decision_id, version, decision_id != toUUID('00000000-0000-0000-0000-000000000000'))
        AS link_decision_id,
    /* links lost */ AS links_lost /* own values */
FROM `mm_fills`
WHERE exchange_order_id IN (SELECT order_id FROM wanted)
    AND (fill_id, exchange_order_id) IN (SELECT fill_id, order_id FROM wanted)
GROUP BY fill_id, exchange_order_id
