-- title: in how many ways the hosts of the cluster declare the columns of a table
SELECT uniqExact(declared) AS ways
FROM
(
    SELECT groupArray((name, type, default_kind, default_expression)) AS declared
    FROM
    (
        SELECT _shard_num AS host, name, type, default_kind, default_expression
        FROM clusterAllReplicas(`cluster`, system.columns)
        WHERE database = {database:String} AND table = {table:String}
        ORDER BY host, position
    )
    GROUP BY host
)
