-- title: whether a column is one of the fills table
-- why: names are values here, and values are bound
columns.database = {database:String} AND columns.table = {table:String}
