-- title: inserts that began before a moment and still run, on any host of the cluster
-- why: an insert that another replica took ends in the old table, too
SELECT count() AS inserts
FROM clusterAllReplicas(`cluster`, system.processes)
WHERE query_kind = 'Insert' AND elapsed > {seconds:Float64} AND query_id != queryID()
