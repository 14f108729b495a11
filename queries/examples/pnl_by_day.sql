-- title: profit and loss by the day on which markets were settled (UTC)
-- shows: what the markets settled on each day earned after fees; `unknown` are those with a fill without a fee
SELECT
    toDate(settled_at) AS day,
    uniqExact(market_ticker) AS markets,
    countIf(pnl_dollars IS NULL) AS unknown,
    sum(fee_dollars) AS fees,
    sum(pnl_dollars) AS pnl
FROM `mm_fills_by_market`
WHERE settled
GROUP BY day
ORDER BY day
