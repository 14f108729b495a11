-- title: what stays with a table's rows when it is renamed, and changes when it is made anew
-- why: a database that gives its tables no uuid has it in the name of their folder
if(
    uuid != toUUID('00000000-0000-0000-0000-000000000000'),
    toString(uuid),
    extract(toString(data_paths), '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}')
)
