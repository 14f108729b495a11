-- title: the columns of the fills table
-- why: those that a sync writes, and the two that the table makes of them for engines
/* include written_columns */, price, fee
