-- title: the hosts of a database of the engine Replicated, and whether each is alive
-- why: such a database is a cluster of its own name
SELECT shard_num AS shard, database_replica_name AS host, toBool(ifNull(is_active, 1)) AS is_alive
FROM system.clusters
WHERE cluster = {database:String} AND database_replica_name != ''
ORDER BY shard_num, replica_num
