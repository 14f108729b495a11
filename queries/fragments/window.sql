-- title: whether a row is in the window, found by its ticker first
-- why: the sort key begins with the ticker, so that parts without any of the window's are not read
/* include in_window */
    AND market_ticker IN (SELECT market_ticker FROM `mm_fills` WHERE /* include in_window */)
