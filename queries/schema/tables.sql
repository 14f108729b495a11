-- title: the tables of a database whose name starts like ours
SELECT name, engine, engine_full, sorting_key, partition_key, total_rows, total_bytes
FROM system.tables
WHERE database = {database:String} AND startsWith(name, {prefix:String})
ORDER BY name
