-- title: runs of this host that never said how they ended
-- why: a run that was killed cannot close itself
SELECT run_id, pid, started_at, window_start, window_end, recorded_at
FROM `mm_fills_runs` FINAL
WHERE status = 'running' AND host = {host:String}
ORDER BY started_at
