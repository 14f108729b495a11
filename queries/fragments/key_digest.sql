-- title: 128 bits of a row's sort key
-- why: rows of one key are versions of one fill, and go or stay together
sipHash128(toString(tuple(market_ticker, fill_id, exchange_order_id, if(fill_id = '', content_hash, 0))))
