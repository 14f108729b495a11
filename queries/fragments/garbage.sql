-- title: of each row that counts, why it is no valid fill or repeats one; empty where it is neither
-- why: of several rows of a fill the one under its id in its column stays, of these the highest version
SELECT
    __key,
    __version,
    __moment,
    __from_exchange,
    multiIf(__gate != '', __gate, __rank > 1, 'repeat', __blank, 'mended', '') AS __reason
FROM
(
    SELECT
        /* include key_digest */ AS __key,
        version AS __version,
        ts AS __moment,
        source IN ('live', 'historical') AS __from_exchange,
        fill_id = '' AS __blank,
        fill_id AS __row_fill_id,
        raw_json AS __row_payload,
        exchange_order_id AS __row_order,
        /* include row_id */ AS __id,
        multiIf(
            price_cents <= 0 OR price_cents >= 100, 'price_out_of_range',
            size <= 0, 'quantity_out_of_range',
            side NOT IN ('yes', 'no'), 'side_out_of_range',
            exchange_order_id = '', 'no_order_id',
            market_ticker = '', 'ticker_empty',
            ts <= toDateTime64('2021-01-01 00:00:00', 6, 'UTC'), 'time_too_early',
            ts > {latest:DateTime64(6, 'UTC')}, 'time_in_the_future',
            __id = '', 'id_empty',
            ''
        ) AS __gate,
        row_number() OVER (
            PARTITION BY __gate = '', __id, exchange_order_id
            ORDER BY
                __blank,
                version DESC,
                decision_id != toUUID('00000000-0000-0000-0000-000000000000') OR client_order_id != '' DESC,
                ts,
                market_ticker,
                content_hash
        ) AS __rank
    FROM `mm_fills` FINAL
)
