-- title: how many rows a table has
SELECT count() AS rows
FROM /* all replicas of */ `mm_fills`
