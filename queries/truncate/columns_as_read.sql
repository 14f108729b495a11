-- title: the same columns as they are read for a copy
-- why: some servers cannot insert filtered rows of a sparsely stored Tuple that is not written out
ts, fill_id, exchange_order_id, market_ticker, side, action, outcome_side, book_side, price_cents,
    yes_price_dollars, no_price_dollars, size, fee_dollars, is_taker, subaccount_number,
    exchange_index, direction_inferred, id_synthetic, source, run_id, content_hash, raw_json, version,
    client_order_id, engine_instance_id, engine_version, decision_id, price, fee /* own columns as read */
