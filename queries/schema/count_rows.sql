-- title: how many rows a table has
SELECT count()
FROM /* all replicas of */ `mm_fills`
