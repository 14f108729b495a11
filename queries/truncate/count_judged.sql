-- title: how many rows the verdicts hold to go, by reason
-- why: what is removed; the watermark goes back to the oldest of what only the exchange can give back.
--   No operator's own column has a name that begins with two underscores
SELECT __reason AS reason, __rows AS rows, __oldest AS oldest, __from_exchange AS from_exchange
FROM
(
    SELECT
        __reason,
        count() AS __rows,
        min(ts) AS __oldest,
        countIf(source IN ('live', 'historical')) AS __from_exchange
    FROM `mm_fills` FINAL
    ANY INNER JOIN (SELECT __row, __reason FROM `mm_fills__verdicts` WHERE __reason != '') AS __judged
        ON /* include row_digest */ = __row
    GROUP BY __reason
)
ORDER BY reason
