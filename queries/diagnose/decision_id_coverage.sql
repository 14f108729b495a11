-- title: rows that are tied to a decision of the engine
-- shows: for each writer, how many rows carry a decision_id, a client_order_id, an engine
-- normal: rows of an engine carry them; rows that only sync wrote do not, the exchange has none
SELECT
    coalesce(COLUMNS('^source$'), '') AS writer,
    count() AS row_count,
    countIf(ifNull(accurateCastOrNull(coalesce(COLUMNS('^decision_id$'), NULL), 'UUID'), toUUID('00000000-0000-0000-0000-000000000000')) != toUUID('00000000-0000-0000-0000-000000000000')) AS with_decision_id,
    countIf(coalesce(COLUMNS('^client_order_id$'), '') != '') AS with_client_order_id,
    countIf(coalesce(COLUMNS('^engine_instance_id$'), '') != '') AS with_engine
FROM `mm_fills` /* FINAL */
WHERE ts >= /* start */ now() - INTERVAL 24 HOUR AND ts < /* end */ now()
    AND market_ticker IN (SELECT market_ticker FROM `mm_fills` WHERE ts >= /* start */ now() - INTERVAL 24 HOUR AND ts < /* end */ now())
GROUP BY writer
ORDER BY writer
SETTINGS final = 1
