-- title: how many hosts the cluster has
SELECT count()
FROM clusterAllReplicas(`cluster`, system.one)
