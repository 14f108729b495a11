-- title: rows as they lie on disk, replaced ones among them
-- why: where there are no more than under FINAL, no fill has a second row
SELECT count() AS row_count
FROM `mm_fills`
