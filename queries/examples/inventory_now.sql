-- title: what is held now
-- shows: open markets with a position, the largest first, and what was paid for it net of closed pairs
SELECT
    market_ticker,
    subaccount_number,
    if(net_position > 0, 'yes', 'no') AS holds,
    abs(net_position) AS contracts,
    -cash_dollars AS paid,
    last_fill
FROM `mm_fills_by_market`
WHERE NOT settled AND net_position != 0
ORDER BY contracts DESC, market_ticker, subaccount_number
LIMIT 1000
