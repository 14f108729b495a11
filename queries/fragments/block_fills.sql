-- title: the fills that travel with a statement as a table `block`, as columns of the fills table
-- reads: a table `block` (line, payload), each line a row's texts, separated by what none of them holds
-- why: two texts a row travel fastest; what follows from other columns is computed here
SELECT
    splitByString({separator:String}, line) AS __texts,
    __texts[1] AS ts,
    __texts[2] AS fill_id,
    __texts[3] AS exchange_order_id,
    __texts[4] AS market_ticker,
    __texts[5] AS side,
    __texts[6] AS action,
    side AS outcome_side,
    if(side = 'yes', 'bid', 'ask') AS book_side,
    toDecimal64(if(side = 'yes', yes_price_dollars, no_price_dollars), 6) * 100 AS price_cents,
    toDecimal32(__texts[7], 6) AS yes_price_dollars,
    1 - yes_price_dollars AS no_price_dollars,
    __texts[8] AS size,
    nullIf(__texts[9], '') AS fee_dollars,
    nullIf(__texts[10], '') AS is_taker,
    nullIf(__texts[11], '') AS subaccount_number,
    nullIf(__texts[12], '') AS exchange_index,
    __texts[13] AS direction_inferred,
    __texts[14] AS id_synthetic,
    __texts[15] AS source,
    {run_id:UUID} AS run_id,
    __texts[16] AS content_hash,
    __texts[17] AS version,
    __texts[18] AS client_order_id,
    payload AS raw_json
FROM block
