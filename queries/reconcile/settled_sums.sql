-- title: what the fills of these markets add up to, by subaccount
-- reads: a table `wanted` (ticker) that travels with the query
SELECT
    market_ticker,
    subaccount_number,
    /* include settled_sums */
FROM `mm_fills` FINAL
WHERE market_ticker IN (SELECT ticker FROM wanted)
GROUP BY market_ticker, subaccount_number
