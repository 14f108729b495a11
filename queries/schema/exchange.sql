-- title: put the new table in the old one's place, atomically
EXCHANGE TABLES `mm_fills__new` AND `mm_fills__old` /* ON CLUSTER */
