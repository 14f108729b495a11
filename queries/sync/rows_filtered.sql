-- title: how the table's rows are read: with a filter where a row policy hides some of this user
-- why: row policies cannot be listed without a privilege, but how a query is run can be
EXPLAIN PLAN actions = 1 SELECT fill_id FROM `mm_fills`
