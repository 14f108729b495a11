-- title: a fill's content as a list of texts, the same in this expression and in the tool
-- why: what counts as "the same content"
[
    toString(ts),
    fill_id,
    exchange_order_id,
    market_ticker,
    CAST(side, 'String'),
    CAST(action, 'String'),
    CAST(outcome_side, 'String'),
    CAST(book_side, 'String'),
    toDecimalString(price_cents, 4),
    toDecimalString(yes_price_dollars, 6),
    toDecimalString(no_price_dollars, 6),
    toDecimalString(size, 2),
    ifNull(toDecimalString(fee_dollars, 6), ''),
    ifNull(toString(is_taker), ''),
    ifNull(toString(subaccount_number), ''),
    ifNull(toString(exchange_index), ''),
    toString(direction_inferred)
]
