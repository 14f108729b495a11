-- title: copy the ledger of migrations of all hosts, each entry once
INSERT INTO `mm_fills__to`
SELECT DISTINCT *
FROM (SELECT * FROM `all mm_fills__from`)
WHERE (version, checksum, applied_at) GLOBAL NOT IN (SELECT version, checksum, applied_at FROM `mm_fills__to`)
