-- title: what the table holds of these settlements, every version that is not merged yet
-- reads: a table `wanted` (market_ticker, subaccount_number) that travels with the query
-- why: by the sort key; without FINAL, so that versions of the same number are all seen
SELECT
    settled_at,
    market_ticker,
    event_ticker,
    subaccount_number,
    market_result,
    yes_contracts,
    no_contracts,
    yes_cost_dollars,
    no_cost_dollars,
    revenue_dollars,
    fee_dollars,
    payout_per_yes_dollars,
    exchange_index,
    version
FROM `mm_fills_settlements`
WHERE (market_ticker, subaccount_number) IN (SELECT market_ticker, toUInt8(subaccount_number) FROM wanted)
