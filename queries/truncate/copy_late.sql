-- title: copy the rows that came after the verdicts
-- why: an engine writes all the time; what was not judged stays in the table,
--   every version of it
INSERT INTO `mm_fills` (/* include columns */)
SELECT /* include columns_as_read */
FROM `mm_fills__from`
WHERE /* include row_digest */ NOT IN (SELECT __row FROM `mm_fills__verdicts`)
SETTINGS optimize_on_insert = 0
