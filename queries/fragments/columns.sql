-- title: the columns of a table of fills, for a copy of entire rows
-- why: the operator's own go along
/* include fill_columns */ /* include own_columns */
