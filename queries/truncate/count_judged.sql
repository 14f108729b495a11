-- title: how many rows the verdicts hold to go, by reason
-- why: what is removed; the watermark goes back to the oldest of what only the exchange can give back
SELECT __reason, count(), min(ts), countIf(source IN ('live', 'historical'))
FROM `mm_fills` FINAL
ANY INNER JOIN (SELECT __row, __reason FROM `mm_fills__verdicts` WHERE __reason != '') AS __judged
    ON /* include row_digest */ = __row
GROUP BY __reason
ORDER BY __reason
