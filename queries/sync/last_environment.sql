-- title: the environment of the last finished run that recorded one
SELECT toString(environment) AS name
FROM `mm_fills_runs` FINAL
WHERE status = 'done' AND environment != ''
ORDER BY recorded_at DESC
LIMIT 1
