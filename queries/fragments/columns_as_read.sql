-- title: the same columns as they are read for a copy
-- why: some servers cannot insert filtered rows of a sparsely stored Tuple that is not written out
/* include fill_columns */ /* include own_columns_as_read */
