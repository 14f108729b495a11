-- title: put the new table in the old one's place, atomically
EXCHANGE TABLES `mm_fills__next` AND `mm_fills` /* ON CLUSTER */
