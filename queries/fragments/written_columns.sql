-- title: the columns of the fills table that a sync writes: its own, and the links it keeps
-- why: named one by one, so that no statement depends on their order in a table
/* include sent_columns */, engine_instance_id, engine_version, decision_id
