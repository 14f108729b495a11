-- title: the clusters this server knows
SELECT DISTINCT cluster
FROM system.clusters
ORDER BY cluster
