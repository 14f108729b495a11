-- title: profit and loss by subaccount
-- shows: what each subaccount earned in settled markets, and the cash that is in its open ones
SELECT
    subaccount_number,
    countIf(settled) AS settled_markets,
    sumIf(pnl_dollars, settled) AS pnl,
    countIf(NOT settled) AS open_markets,
    sumIf(cash_dollars, NOT settled) AS cash_in_open_markets
FROM `mm_fills_by_market`
GROUP BY subaccount_number
ORDER BY subaccount_number
