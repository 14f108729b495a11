-- title: up to when the syncs that ended lately have read
-- why: only a fill newer than that may be on its way; an entry with an error text is a truncate's, which
--   read nothing, and a run whose window ended long before the run itself (--until) left the rest out
SELECT window_end, watermark
FROM `mm_fills_runs` FINAL
WHERE status = 'done' AND error = '' AND finished_at > {lately:DateTime64(6, 'UTC')}
    AND (window_end >= started_at OR window_end > {lately:DateTime64(6, 'UTC')})
ORDER BY window_end DESC, watermark DESC
LIMIT 1
