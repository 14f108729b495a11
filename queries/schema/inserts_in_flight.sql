-- title: inserts that began before a moment and still run
-- why: an insert that began before the exchange ends in the old table, after it
SELECT count() AS inserts
FROM system.processes
WHERE query_kind = 'Insert' AND elapsed > {seconds:Float64} AND query_id != queryID()
