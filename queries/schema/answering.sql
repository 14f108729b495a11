-- title: which hosts of the cluster answer, by their place in it
SELECT DISTINCT _shard_num AS place
FROM clusterAllReplicas(`cluster`, system.one)
SETTINGS skip_unavailable_shards = 1
