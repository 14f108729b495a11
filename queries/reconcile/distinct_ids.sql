-- title: rows with an id, and how many different fills they are
-- why: the cheap question first; a number instead of two texts, and no payload read
SELECT count() AS row_count, uniqExact(cityHash64(coalesce(COLUMNS('^fill_id$'), ''), exchange_order_id)) AS fills
FROM `mm_fills` /* include final */
WHERE coalesce(COLUMNS('^fill_id$'), '') != ''
