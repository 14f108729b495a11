-- title: copy once more the row that counts where several have the same version
-- why: of these the one written last counts, and a copy keeps no order
INSERT INTO `mm_fills__to` (/* include columns */)
SELECT /* include columns_as_read */
FROM `mm_fills__from` FINAL
WHERE /* include key_digest */ IN (
        SELECT /* include key_digest */
        FROM `mm_fills__from`
        GROUP BY market_ticker, fill_id, exchange_order_id, if(fill_id = '', content_hash, 0), version
        HAVING count() > 1
    )
    AND /* include row_digest */ IN (
        SELECT __row
        FROM `mm_fills__verdicts`
        WHERE if({going:Bool}, __reason NOT IN ('', 'mended'), __reason = '')
    )
SETTINGS optimize_on_insert = 0
