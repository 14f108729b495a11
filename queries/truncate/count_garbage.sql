-- title: how many rows are no valid fills or repeat one, by reason
-- why: what a removal would remove, before anything is written
SELECT __reason, count(), min(__moment), countIf(__from_exchange)
FROM (/* include garbage */)
WHERE __reason != ''
GROUP BY __reason
ORDER BY __reason
