-- title: what stays with the fills table when it is renamed, and changes when it is made anew
-- why: a database that gives its tables no uuid has it in their folder's name
SELECT
    engine,
    /* include table_identity */ AS identity
FROM system.tables
WHERE database = {database:String} AND name = {table:String}
