-- title: the markets that lost the most
-- shows: settled or flat markets by what they earned, all subaccounts together, the worst first
SELECT
    market_ticker,
    any(market_result) AS result,
    sum(fills) AS fills_in_all,
    sum(yes_contracts) AS yes,
    sum(no_contracts) AS no,
    sum(fee_dollars) AS fees,
    sum(pnl_dollars) AS pnl
FROM `mm_fills_by_market`
WHERE pnl_dollars IS NOT NULL
GROUP BY market_ticker
ORDER BY pnl, market_ticker
LIMIT 20
