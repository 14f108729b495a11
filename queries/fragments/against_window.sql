-- title: whether a row lies before, in or after the window
-- why: one rule for the window's bounds, also where the whole table is read
multiIf(/* include in_window */, 'in', ts < {start:DateTime64(6, 'UTC')}, 'before', 'after')
