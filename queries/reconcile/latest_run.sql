-- title: how the latest sync run went, whatever came of it
SELECT status, started_at, finished_at, error
FROM `mm_fills_runs` FINAL
ORDER BY recorded_at DESC
LIMIT 1
