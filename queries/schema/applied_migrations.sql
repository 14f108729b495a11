-- title: the ledger of applied migrations, oldest first
SELECT version, name, checksum, applied_at
FROM `mm_fills_migrations`
ORDER BY version, applied_at
