-- title: where the replicas of the fills table meet, which is the same for each of them
SELECT zookeeper_path AS path
FROM system.replicas
WHERE database = {database:String} AND table = {table:String}
