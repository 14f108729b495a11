-- title: what was traded on each day (UTC), for each subaccount
CREATE OR REPLACE VIEW `mm_fills_by_day` /* ON CLUSTER */ AS
SELECT
    toDate(ts) AS day,
    subaccount_number,
    count() AS fills,
    sum(size) AS contracts,
    sum(toDecimal128(size, 2) * if(side = 'no', no_price_dollars, yes_price_dollars)) AS notional_dollars,
    if(countIf(fee_dollars IS NULL) = 0, toNullable(sum(ifNull(fee_dollars, 0))), NULL) AS fee_dollars,
    if(
        countIf(is_taker IS NULL) = 0 AND contracts != 0,
        toDecimal64(toDecimal256(sumIf(size, NOT ifNull(is_taker, true)), 8) / contracts, 6),
        NULL
    ) AS maker_share,
    uniqExact(market_ticker) AS markets
FROM `mm_fills` FINAL
GROUP BY day, subaccount_number
COMMENT 'kalshi-fills: fills by day'
