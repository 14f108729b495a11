-- title: how many rows a table has
SELECT count() AS rows
FROM `all mm_fills__counted`
