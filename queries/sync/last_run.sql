-- title: the last finished run
-- why: its watermark is where the next window starts
SELECT run_id, watermark, finished_at
FROM `mm_fills_runs` FINAL
WHERE status = 'done'
ORDER BY recorded_at DESC
LIMIT 1
