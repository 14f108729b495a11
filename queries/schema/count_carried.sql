-- title: how many fills were carried over from an older table
SELECT uniqExact(fill_id, exchange_order_id) AS fills
FROM `mm_fills__to`
WHERE source = 'legacy'
