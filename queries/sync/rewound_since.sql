-- title: to where the watermark was rewound since a moment
-- why: such an entry is done and says why; a run that began before it must not move past it
SELECT count(), countIf(watermark IS NULL), min(watermark)
FROM `mm_fills_runs` FINAL
WHERE status = 'done' AND error != '' AND recorded_at > {since:DateTime64(6, 'UTC')}
