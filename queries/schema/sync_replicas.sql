-- title: wait until every replica has what this one has
-- why: a table that takes another's place must have its rows on all of them by then
SYSTEM SYNC REPLICA /* ON CLUSTER */ `mm_fills` LIGHTWEIGHT
