-- title: copy every row of all hosts into the replicated table
-- why: each version as it is; a row that was copied before has the same key and version
INSERT INTO `mm_fills__next`
SELECT * APPLY materialize
FROM /* all replicas of */ `mm_fills`
SETTINGS optimize_on_insert = 0
