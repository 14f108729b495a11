-- title: the fills that travel with a statement as a table `block`, as columns of the fills table
-- reads: a table `block` whose `line` holds, separated by tabs, what cannot hold a tab itself
-- why: few texts a row travel faster than one for each column; what follows from other columns is
--   computed here
SELECT
    splitByChar('\t', line) AS __texts,
    __texts[1] AS ts,
    fill_id,
    exchange_order_id,
    market_ticker,
    __texts[2] AS side,
    action,
    side AS outcome_side,
    if(side = 'yes', 'bid', 'ask') AS book_side,
    toDecimal64(if(side = 'yes', yes_price_dollars, no_price_dollars), 6) * 100 AS price_cents,
    toDecimal32(__texts[3], 6) AS yes_price_dollars,
    1 - yes_price_dollars AS no_price_dollars,
    __texts[4] AS size,
    nullIf(__texts[5], '') AS fee_dollars,
    nullIf(__texts[6], '') AS is_taker,
    nullIf(__texts[7], '') AS subaccount_number,
    nullIf(__texts[8], '') AS exchange_index,
    __texts[9] AS direction_inferred,
    __texts[10] AS id_synthetic,
    __texts[11] AS source,
    {run_id:UUID} AS run_id,
    __texts[12] AS content_hash,
    raw_json,
    __texts[13] AS version,
    client_order_id
FROM block
