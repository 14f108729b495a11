-- title: keep the old table, whole, under a dated name
RENAME TABLE `mm_fills__old` TO `mm_fills__kept` /* ON CLUSTER */
