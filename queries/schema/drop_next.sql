-- title: drop the unfinished new table of a migration that was killed
-- why: it holds copies only; the copy starts anew
DROP TABLE IF EXISTS `mm_fills__copy` /* ON CLUSTER */ SYNC
