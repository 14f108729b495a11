-- title: how many rows of the old table are neither in the table nor among the removed
-- why: the old table is dropped only where this is none; of each fill one version is enough
SELECT count() AS rows
FROM
(
    SELECT
        /* include key_digest */ AS __key,
        fill_id AS __row_fill_id,
        raw_json AS __row_payload,
        exchange_order_id AS __row_order,
        /* include row_id */ AS __id,
        __reason
    FROM `mm_fills__from` FINAL
    LEFT ANY JOIN `mm_fills__verdicts` AS __judged ON /* include row_digest */ = __row
)
WHERE multiIf(
    __reason = '', __key NOT IN (SELECT /* include key_digest */ FROM `mm_fills`),
    __reason = 'mended', (__id, __row_order) NOT IN (SELECT fill_id, exchange_order_id FROM `mm_fills`),
    __key NOT IN (SELECT /* include key_digest */ FROM `mm_fills__removed`)
)
