-- title: copy every row of a table made like ours
-- why: by position, since an old table's columns are its own
INSERT INTO `mm_fills`
SELECT * APPLY materialize
FROM `mm_fills__from`
SETTINGS optimize_on_insert = 0
