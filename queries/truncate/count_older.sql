-- title: how many rows are older than a moment, by reason
-- why: what a removal would remove, before anything is written
SELECT __reason AS reason, count() AS rows, min(__moment) AS oldest, countIf(__from_exchange) AS from_exchange
FROM (/* include older */)
WHERE __reason != ''
GROUP BY __reason
ORDER BY __reason
