-- title: fills that stand in the table more than once, by the id in the column or in the payload
-- why: an engine that knows no fill_id writes the payload all the same; where even that has no id, the
--   same payload again, or the same row again, is the same fill again; what is no fill is left out
SELECT count() AS fills, sum(row_count) AS row_count
FROM
(
    SELECT
        sipHash64(
            multiIf(
                __row_id != '', __row_id,
                __row_payload != '', __row_payload,
                toString((ts, market_ticker, coalesce(COLUMNS('^side$'), ''), coalesce(COLUMNS('^price_cents$'), 0), coalesce(COLUMNS('^size$'), 0)))
            ),
            __row_order
        ) AS identity,
        count() AS row_count
    FROM
    (
        SELECT
            *,
            coalesce(COLUMNS('^fill_id$'), '') AS __row_fill_id,
            coalesce(COLUMNS('^raw_json$'), '') AS __row_payload,
            exchange_order_id AS __row_order,
            /* include row_id */ AS __row_id
        FROM `mm_fills` /* include final */
        WHERE coalesce(COLUMNS('^price_cents$'), 0) > 0 AND coalesce(COLUMNS('^price_cents$'), 0) < 100
    )
    GROUP BY identity
    HAVING row_count > 1
)
