-- title: what stands under our names on each host of the cluster
SELECT
    _shard_num,
    name,
    engine,
    engine_full,
    sorting_key,
    partition_key,
    total_rows,
    total_bytes,
    toString(uuid) AS identity,
    comment,
    as_select,
    create_table_query
FROM clusterAllReplicas(`cluster`, system.tables)
WHERE database = {database:String} AND startsWith(name, {prefix:String})
ORDER BY name, _shard_num
