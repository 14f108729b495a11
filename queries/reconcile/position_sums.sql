-- title: what the fills of these markets add up to, yes contracts positive, by subaccount
-- reads: a table `wanted` (ticker) that travels with the query
SELECT
    market_ticker,
    subaccount_number,
    sum(if(side = 'yes', size, -size)) AS contracts
FROM `mm_fills` FINAL
WHERE market_ticker IN (SELECT ticker FROM wanted)
GROUP BY market_ticker, subaccount_number
