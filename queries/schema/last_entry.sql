-- title: the last entry of a replicated table's log
SELECT max(name) AS name
FROM system.zookeeper
WHERE path = {path:String}
