-- title: how many rows are older than a moment, by reason
-- why: what a removal would remove, before anything is written
SELECT __reason, count(), min(__moment), countIf(__from_exchange)
FROM (/* include older */)
WHERE __reason != ''
GROUP BY __reason
ORDER BY __reason
