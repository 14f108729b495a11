-- title: whether the table has a row at all
-- why: into an empty table nothing needs to be looked up first
SELECT 1 AS one
FROM `mm_fills`
LIMIT 1
