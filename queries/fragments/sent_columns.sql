-- title: the columns of the fills table that a sync has values for
-- why: named one by one, so that no statement depends on their order in a table
ts, fill_id, exchange_order_id, market_ticker, side, action, outcome_side, book_side, price_cents,
    yes_price_dollars, no_price_dollars, size, fee_dollars, is_taker, subaccount_number,
    exchange_index, direction_inferred, id_synthetic, source, run_id, content_hash, raw_json, version,
    client_order_id
