-- title: how many hosts of the cluster have the table, and how many there are
SELECT
    (
        SELECT count()
        FROM clusterAllReplicas(/* cluster */, system.tables)
        WHERE database = {database:String} AND name = {table:String}
    ) AS with_table,
    (SELECT count() FROM clusterAllReplicas(/* cluster */, system.one)) AS hosts
