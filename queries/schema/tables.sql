-- title: the tables of a database whose name starts like ours
-- why: `identity` stays with the rows when tables are exchanged; a database that gives its tables no
--   uuid has it in their folder's name
SELECT
    name,
    engine,
    engine_full,
    sorting_key,
    partition_key,
    total_rows AS rows,
    total_bytes AS bytes,
    /* include table_identity */ AS identity,
    comment,
    as_select AS `select`
FROM system.tables
WHERE database = {database:String} AND startsWith(name, {prefix:String})
ORDER BY name
