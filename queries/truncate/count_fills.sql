-- title: how many fills a table holds, whatever is merged yet
SELECT count() AS rows
FROM /* all replicas of */ `mm_fills` /* FINAL */
