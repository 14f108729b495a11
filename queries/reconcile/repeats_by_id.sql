-- title: fills that stand in the table more than once, by their id
SELECT count() AS fills, sum(row_count) AS row_count
FROM
(
    SELECT cityHash64(coalesce(COLUMNS('^fill_id$'), ''), exchange_order_id) AS identity, count() AS row_count
    FROM `mm_fills` /* include final */
    WHERE coalesce(COLUMNS('^fill_id$'), '') != ''
    GROUP BY identity
    HAVING row_count > 1
)
