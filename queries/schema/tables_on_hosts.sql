-- title: what stands under our names on each host of the cluster
SELECT
    _shard_num AS host,
    name,
    engine,
    engine_full,
    sorting_key,
    partition_key,
    total_rows AS rows,
    total_bytes AS bytes,
    toString(uuid) AS identity,
    comment,
    as_select AS `select`,
    create_table_query AS statement
FROM clusterAllReplicas(`cluster`, system.tables)
WHERE database = {database:String} AND startsWith(name, {prefix:String})
ORDER BY name, _shard_num
