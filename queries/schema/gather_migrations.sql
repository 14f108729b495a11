-- title: copy the ledger of migrations of all hosts, each entry once
INSERT INTO `mm_fills__next`
SELECT DISTINCT *
FROM (SELECT * FROM /* all replicas of */ `mm_fills`)
WHERE (version, checksum, applied_at) GLOBAL NOT IN (SELECT version, checksum, applied_at FROM `mm_fills__next`)
