-- title: how many rows of the fills table are not those of other writers
-- why: asked only where there are more rows than fills were held; it reads one small column
SELECT count() AS rows
FROM `mm_fills`
WHERE source != ''
