-- title: nodes of Keeper below some paths
SELECT path, name, value
FROM system.zookeeper
WHERE path IN {paths:Array(String)}
