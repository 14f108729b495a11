-- title: the engine of a database, no row if there is none
SELECT engine
FROM system.databases
WHERE name = {database:String}
