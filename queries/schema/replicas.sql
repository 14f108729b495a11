-- title: what Keeper is told of replicated tables, and which of their replicas are down
SELECT
    table,
    zookeeper_path AS path,
    replica_name AS here,
    arraySort(mapKeys(mapFilter((name, active) -> active = 0, replica_is_active))) AS down
FROM system.replicas
WHERE database = {database:String} AND table IN {tables:Array(String)}
ORDER BY table
