-- title: what the table holds of these fills, whole
-- reads: a table `wanted` (fill_id, order_id) that travels with the query
-- why: to say what differs; several rows of the highest version that are not alike in everything are
--   told as undefined, for which of them FINAL shows is chance
SELECT
    fill_id,
    exchange_order_id,
    groupUniqArrayIf(__content, version = __top_version) AS contents,
    max(version) AS top_version,
    groupUniqArray(market_ticker) AS tickers,
    uniqExactIf(
        (__content, client_order_id, engine_instance_id, engine_version, decision_id /* include comparable_columns */),
        version = __top_version
    ) > 1 AS undefined,
    max(version) > 0 AND argMax(content_hash, version) = 0 AS unfinished,
    /* include links_lost */ AS links_lost
FROM
(
    SELECT
        fill_id,
        exchange_order_id,
        market_ticker,
        version,
        content_hash,
        /* include content_texts */ AS __content,
        max(version) OVER (PARTITION BY fill_id, exchange_order_id) AS __top_version,
        client_order_id,
        engine_instance_id,
        engine_version,
        decision_id /* include comparable_columns */
    FROM `mm_fills`
    WHERE exchange_order_id IN (SELECT order_id FROM wanted)
        AND (fill_id, exchange_order_id) IN (SELECT fill_id, order_id FROM wanted)
)
GROUP BY fill_id, exchange_order_id
