-- title: the stored settlements of these markets
-- reads: a table `wanted` (ticker) that travels with the query
SELECT
    market_ticker,
    subaccount_number,
    settled_at,
    market_result,
    yes_contracts,
    no_contracts,
    yes_cost_dollars,
    no_cost_dollars,
    revenue_dollars,
    fee_dollars,
    payout_per_yes_dollars
FROM `mm_fills_settlements` FINAL
WHERE market_ticker IN (SELECT ticker FROM wanted)
