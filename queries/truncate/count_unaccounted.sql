-- title: how many rows of the old table are neither in the table nor among the removed
-- why: the old table is dropped only where this is none; of each fill one version is enough
SELECT count() AS rows
FROM
(
    SELECT
        /* key digest */ AS __key,
        /* payload id */ AS __id,
        exchange_order_id AS __order,
        __reason
    FROM `mm_fills__from` FINAL
    LEFT ANY JOIN `mm_fills__verdicts` AS __judged ON /* row digest */ = __row
)
WHERE multiIf(
    __reason = '', __key NOT IN (SELECT /* key digest */ FROM `mm_fills`),
    __reason = 'mended', (__id, __order) NOT IN (SELECT fill_id, exchange_order_id FROM `mm_fills`),
    __key NOT IN (SELECT /* key digest */ FROM `mm_fills__removed`)
)
