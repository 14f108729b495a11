-- title: the columns of a table, in order
SELECT name, type, default_kind, default_expression AS `default`
FROM system.columns
WHERE database = {database:String} AND table = {table:String}
ORDER BY position
