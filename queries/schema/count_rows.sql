-- title: how many rows a table has
SELECT count()
FROM `all mm_fills__counted`
