-- title: whether a row's time is in the window
-- why: the same bounds wherever a window is read: the start is part of it, the end is not
ts >= {start:DateTime64(6, 'UTC')} AND ts < {end:DateTime64(6, 'UTC')}
