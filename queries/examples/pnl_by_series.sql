-- title: profit and loss by event series
-- shows: what each series earned, best first; a ticker's first part names its series
SELECT
    splitByChar('-', market_ticker)[1] AS series,
    uniqExact(market_ticker) AS markets,
    sum(yes_contracts + no_contracts) AS contracts,
    sum(fee_dollars) AS fees,
    sum(pnl_dollars) AS pnl
FROM `mm_fills_by_market`
WHERE settled
GROUP BY series
ORDER BY pnl DESC, series
