-- title: rows, fills and repeats
-- shows: how many rows have an id, in the column or at least in the payload, and how many fills they are
-- normal: every row has its id in the column, and there are as many fills as rows
SELECT
    count() AS row_count,
    countIf(id_column = '') AS without_fill_id,
    countIf(id_column = '' AND id != '') AS id_in_payload_only,
    uniqExactIf((id, exchange_order_id), id != '') AS fills,
    countIf(id != '') - fills AS repeated_rows
FROM
(
    SELECT
        exchange_order_id,
        coalesce(COLUMNS('^fill_id$'), '') AS id_column,
        multiIf(
            id_column != '', id_column,
            JSONExtractString(coalesce(COLUMNS('^raw_json$'), ''), 'fill_id') != '', JSONExtractString(coalesce(COLUMNS('^raw_json$'), ''), 'fill_id'),
            JSONExtractString(coalesce(COLUMNS('^raw_json$'), ''), 'trade_id')
        ) AS id
    FROM `mm_fills` /* FINAL */
    WHERE ts >= /* start */ now() - INTERVAL 24 HOUR AND ts < /* end */ now()
        AND market_ticker IN (SELECT market_ticker FROM `mm_fills` WHERE ts >= /* start */ now() - INTERVAL 24 HOUR AND ts < /* end */ now())
)
SETTINGS final = 1
