-- title: runs that never said how they ended, or are still at work
-- why: a run that was killed cannot close itself; one on another host is at work on the same table
SELECT run_id, toValidUTF8(host) AS host, pid, started_at, window_start, window_end, recorded_at
FROM `mm_fills_runs` FINAL
WHERE status = 'running'
ORDER BY started_at
