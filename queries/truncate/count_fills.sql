-- title: how many fills a table holds, whatever is merged yet
SELECT count()
FROM /* all replicas of */ `mm_fills` /* FINAL */
