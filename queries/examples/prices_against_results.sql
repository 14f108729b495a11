-- title: prices paid against results
-- shows: contracts bought by price in steps of ten cents, and how many of them paid a dollar; the share that
--   won above the mean price is the edge before fees; scalar markets are left out
SELECT
    floor(price_cents / 10) * 10 AS from_cents,
    sum(size) AS contracts,
    toDecimal64(sum(toDecimal256(size, 2) * toDecimal256(price_cents, 8)) / sum(size), 6) AS mean_price_cents,
    toDecimal64(toDecimal256(sumIf(size, side = market_result), 8) / sum(size), 6) AS share_won
FROM `mm_fills` AS fill FINAL
INNER JOIN (SELECT DISTINCT market_ticker, market_result FROM `mm_fills_settlements` FINAL WHERE market_result IN ('yes', 'no')) AS settled
    ON fill.market_ticker = settled.market_ticker
GROUP BY from_cents
ORDER BY from_cents
