-- title: drop a table that holds no row
-- why: the engine itself looks, so that a row that came at the last moment is not lost
DROP TABLE IF EMPTY `mm_fills__empty` /* ON CLUSTER */ SYNC
