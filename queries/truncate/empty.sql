-- title: remove every row for good
-- why: only where the operator wants no backup
TRUNCATE TABLE `mm_fills` /* ON CLUSTER */
