-- title: rows, fills and repeats
-- shows: how many rows have an id, in the column or at least in the payload, and how many fills they are
-- normal: every row has its id in the column, and there are as many fills as rows
SELECT
    count() AS row_count,
    countIf(__row_fill_id = '') AS without_fill_id,
    countIf(__row_fill_id = '' AND id != '') AS id_in_payload_only,
    uniqExactIf((id, __row_order), id != '') AS fills,
    countIf(id != '') - fills AS repeated_rows
FROM
(
    SELECT
        exchange_order_id AS __row_order,
        coalesce(COLUMNS('^fill_id$'), '') AS __row_fill_id,
        coalesce(COLUMNS('^raw_json$'), '') AS __row_payload,
        /* include row_id */
        /* by hand: */ multiIf(
            __row_fill_id != '', __row_fill_id,
            JSONExtractString(__row_payload, 'order_id') != __row_order, '',
            JSONExtractString(__row_payload, 'fill_id') != '', JSONExtractString(__row_payload, 'fill_id'),
            JSONExtractString(__row_payload, 'trade_id')
        ) /* end */ AS id
    FROM `mm_fills` /* include final */
    WHERE /* include window */ /* by hand: */ ts >= now() - INTERVAL 24 HOUR AND ts < now() /* end */
)
/* by hand: */ SETTINGS final = 1 /* end */
