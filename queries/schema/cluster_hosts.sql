-- title: the hosts of a cluster, shard by shard
SELECT shard_num AS shard, host_name AS host, port
FROM system.clusters
WHERE cluster = {cluster:String}
ORDER BY shard_num, replica_num
