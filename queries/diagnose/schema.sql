-- title: the columns of the table
-- shows: every column with its type, and which make up the sort key that tells one fill from another
-- normal: fill_id is a String and part of the sort key; `kalshi-fills migrate` brings the rest
SELECT
    columns.name AS column_name,
    columns.type AS column_type,
    columns.is_in_sorting_key AS in_sort_key,
    tables.engine AS table_engine
FROM system.columns AS columns
INNER JOIN system.tables AS tables ON tables.database = columns.database AND tables.name = columns.table
WHERE /* include this_table */ /* by hand: */ columns.database = currentDatabase() AND columns.table = 'mm_fills' /* end */
ORDER BY columns.position
