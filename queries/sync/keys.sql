-- title: the keys that finished runs used
SELECT DISTINCT key_digest
FROM `mm_fills_runs` FINAL
WHERE status = 'done' AND key_digest != ''
