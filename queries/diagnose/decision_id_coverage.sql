-- title: rows that are tied to a decision of the engine
-- shows: for each writer, how many rows carry a decision_id, a client_order_id, an engine
-- normal: rows of an engine carry them; rows that only sync wrote do not, the exchange has none
SELECT
    coalesce(COLUMNS('^source$'), '') AS writer,
    count() AS row_count,
    countIf(ifNull(accurateCastOrNull(coalesce(COLUMNS('^decision_id$'), NULL), 'UUID'), toUUID('00000000-0000-0000-0000-000000000000')) != toUUID('00000000-0000-0000-0000-000000000000')) AS with_decision_id,
    countIf(coalesce(COLUMNS('^client_order_id$'), '') != '') AS with_client_order_id,
    countIf(coalesce(COLUMNS('^engine_instance_id$'), '') != '') AS with_engine
FROM `mm_fills` /* include final */
WHERE /* include window */ /* by hand: */ ts >= now() - INTERVAL 24 HOUR AND ts < now() /* end */
GROUP BY writer
ORDER BY writer
/* by hand: */ SETTINGS final = 1 /* end */
