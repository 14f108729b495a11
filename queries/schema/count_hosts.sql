-- title: how many hosts the cluster has
SELECT count() AS hosts
FROM clusterAllReplicas(`cluster`, system.one)
