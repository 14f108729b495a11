-- title: cash and profit by day (UTC), with the share of maker contracts
-- shows: cash that fills cost and brought, a dollar for each pair of yes and no among it, and what settlements
--   paid; profit counts on the day of settlement; NULL where the fee of a fill is not known
SELECT
    day,
    sum(contracts_traded) AS contracts,
    if(sum(makers_unknown) = 0 AND contracts != 0, toDecimal64(toDecimal256(sum(maker_contracts), 8) / contracts, 6), NULL) AS maker_share,
    if(sum(fees_unknown) = 0, toNullable(sum(cash_of_day)), NULL) AS cash,
    uniqExactIf(settled_market, settled_market != '') AS settled_markets,
    if(sum(pnl_unknown) = 0, toNullable(sum(pnl_of_day)), NULL) AS pnl
FROM
(
    SELECT
        day,
        yes + no AS contracts_traded,
        made AS maker_contracts,
        no_maker AS makers_unknown,
        no_fee AS fees_unknown,
        least(yes_so_far, no_so_far) - least(yes_so_far - yes, no_so_far - no) - cost - fee AS cash_of_day,
        '' AS settled_market,
        0 AS pnl_unknown,
        toDecimal128(0, 8) AS pnl_of_day
    FROM
    (
        SELECT
            *,
            sum(yes) OVER (PARTITION BY market_ticker, subaccount_number ORDER BY day) AS yes_so_far,
            sum(no) OVER (PARTITION BY market_ticker, subaccount_number ORDER BY day) AS no_so_far
        FROM
        (
            SELECT
                toDate(ts) AS day,
                market_ticker,
                subaccount_number,
                sumIf(size, side = 'yes') AS yes,
                sumIf(size, side = 'no') AS no,
                sum(toDecimal128(size, 2) * if(side = 'no', no_price_dollars, yes_price_dollars)) AS cost,
                sum(ifNull(fee_dollars, 0)) AS fee,
                countIf(fee_dollars IS NULL) AS no_fee,
                sumIf(size, NOT ifNull(is_taker, true)) AS made,
                countIf(is_taker IS NULL) AS no_maker
            FROM `mm_fills` FINAL
            GROUP BY day, market_ticker, subaccount_number
        )
    )
    UNION ALL
    SELECT
        toDate(assumeNotNull(settled_at)) AS day,
        0 AS contracts_traded,
        0 AS maker_contracts,
        0 AS makers_unknown,
        0 AS fees_unknown,
        assumeNotNull(revenue_dollars) AS cash_of_day,
        market_ticker AS settled_market,
        toUInt64(pnl_dollars IS NULL) AS pnl_unknown,
        ifNull(pnl_dollars, 0) AS pnl_of_day
    FROM `mm_fills_by_market`
    WHERE settled
)
GROUP BY day
ORDER BY day
