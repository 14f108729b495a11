-- title: count and content digest of the fills in a window, hour by hour
-- why: finds the rows by time first, then the version that counts of each, so that a small window of a
--   large table is read without FINAL, and a row whose time was corrected counts once; where rows of
--   the same version differ, both are counted, for which of them FINAL shows is undefined
SELECT
    toStartOfHour(shown.1) AS hour,
    count() AS fills,
    sum(shown.2) AS digest_sum
FROM
(
    SELECT arrayJoin(/* include contents_shown */) AS shown
    FROM
    (
        SELECT /* include row_digests */
        FROM `mm_fills`
        WHERE (market_ticker, fill_id, exchange_order_id) IN (
            SELECT market_ticker, fill_id, exchange_order_id
            FROM `mm_fills`
            WHERE /* include in_window */
        )
    )
    GROUP BY market_ticker, fill_id, exchange_order_id, __apart
)
WHERE shown.1 >= {start:DateTime64(6, 'UTC')} AND shown.1 < {end:DateTime64(6, 'UTC')}
GROUP BY hour
