-- title: the rows that count and are older than a moment
-- why: a fill whose time was corrected is as old as its row that counts
SELECT
    /* include key_digest */ AS __key,
    version AS __version,
    ts AS __moment,
    source IN ('live', 'historical') AS __from_exchange,
    'older' AS __reason
FROM `mm_fills` FINAL
WHERE ts < {before:DateTime64(6, 'UTC')}
