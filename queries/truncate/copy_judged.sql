-- title: copy the rows that stay, or those that go
-- why: every version of them, so not collapsed: one may hold a link that the next sync takes over
INSERT INTO `mm_fills__to` (/* include columns */)
SELECT /* include columns_as_read */
FROM `mm_fills__from`
WHERE /* include row_digest */ IN (
    SELECT __row
    FROM `mm_fills__verdicts`
    WHERE if({going:Bool}, __reason NOT IN ('', 'mended'), __reason = '')
)
SETTINGS optimize_on_insert = 0
