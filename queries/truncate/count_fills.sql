-- title: how many fills a table holds, whatever is merged yet
SELECT count() AS rows
FROM `all mm_fills__counted` /* include final */
