-- title: copy every row of all hosts into the replicated table
-- why: each version as it is; a row that was copied before has the same key and version
INSERT INTO `mm_fills__to`
SELECT * APPLY materialize
FROM `all mm_fills__from`
SETTINGS optimize_on_insert = 0
