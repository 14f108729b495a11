-- title: how many rows are no valid fills or repeat one, by reason
-- why: what a removal would remove, before anything is written
SELECT __reason AS reason, count() AS rows, min(__moment) AS oldest, countIf(__from_exchange) AS from_exchange
FROM (/* include garbage */)
WHERE __reason != ''
GROUP BY __reason
ORDER BY __reason
