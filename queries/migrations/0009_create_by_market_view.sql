-- title: what each market has cost and brought, for each subaccount
-- why: each pair of a yes and a no contract returns one dollar, in whatever order they were traded, so that
--   cash and profit follow from sums alone; where a fill does not say its subaccount, its market is one row,
--   whose cash is unknown if several subaccounts were settled, for nobody knows which of them held what
CREATE OR REPLACE VIEW `mm_fills_by_market` /* ON CLUSTER */ AS
SELECT
    traded.market_ticker AS market_ticker,
    traded.subaccount_number AS subaccount_number,
    traded.first_fill AS first_fill,
    traded.last_fill AS last_fill,
    traded.fills AS fills,
    traded.yes_contracts AS yes_contracts,
    traded.no_contracts AS no_contracts,
    traded.yes_contracts - traded.no_contracts AS net_position,
    traded.yes_cost_dollars AS yes_cost_dollars,
    traded.no_cost_dollars AS no_cost_dollars,
    if(traded.fees_unknown = 0, toNullable(traded.fees), NULL) AS fee_dollars,
    if(
        traded.makers_unknown = 0 AND traded.contracts != 0,
        toDecimal64(toDecimal256(traded.maker_contracts, 8) / traded.contracts, 6),
        NULL
    ) AS maker_share,
    CAST(ifNull(paid.subaccounts, 0) > 0, 'Bool') AS settled,
    if(settled, toNullable(paid.settled_at), NULL) AS settled_at,
    if(settled, toNullable(paid.market_result), NULL) AS market_result,
    if(settled, toNullable(paid.revenue), NULL) AS revenue_dollars,
    if(
        traded.subaccount_number IS NULL AND ifNull(paid.subaccounts, 0) > 1,
        NULL,
        least(traded.yes_contracts, traded.no_contracts) - traded.yes_cost_dollars - traded.no_cost_dollars - fee_dollars + ifNull(paid.revenue, 0)
    ) AS cash_dollars,
    if(settled OR net_position = 0, cash_dollars, NULL) AS pnl_dollars
FROM
(
    SELECT
        market_ticker,
        -- An array, not a window: a condition on the market reaches the table through it.
        arrayJoin(if(
            countIf(of_fill IS NULL) = 0,
            groupArray((of_fill, first_ts, last_ts, fill_count, yes, no, yes_cost, no_cost, fee, no_fee, made, no_maker)),
            [(CAST(NULL, 'Nullable(UInt8)'), min(first_ts), max(last_ts), sum(fill_count), sum(yes), sum(no), sum(yes_cost), sum(no_cost), sum(fee), sum(no_fee), sum(made), sum(no_maker))]
        )) AS sums,
        sums.1 AS subaccount_number,
        sums.2 AS first_fill,
        sums.3 AS last_fill,
        sums.4 AS fills,
        sums.5 AS yes_contracts,
        sums.6 AS no_contracts,
        sums.7 AS yes_cost_dollars,
        sums.8 AS no_cost_dollars,
        sums.9 AS fees,
        sums.10 AS fees_unknown,
        sums.11 AS maker_contracts,
        sums.12 AS makers_unknown,
        yes_contracts + no_contracts AS contracts
    FROM
    (
        SELECT
            market_ticker,
            subaccount_number AS of_fill,
            min(ts) AS first_ts,
            max(ts) AS last_ts,
            count() AS fill_count,
            sumIf(size, side = 'yes') AS yes,
            sumIf(size, side = 'no') AS no,
            sumIf(toDecimal128(size, 2) * yes_price_dollars, side = 'yes') AS yes_cost,
            sumIf(toDecimal128(size, 2) * no_price_dollars, side = 'no') AS no_cost,
            sum(ifNull(fee_dollars, 0)) AS fee,
            countIf(fee_dollars IS NULL) AS no_fee,
            sumIf(size, NOT ifNull(is_taker, true) AND side IN ('yes', 'no')) AS made,
            countIf(is_taker IS NULL) AS no_maker
        FROM `mm_fills` FINAL
        GROUP BY market_ticker, of_fill
    )
    GROUP BY market_ticker
) AS traded
LEFT JOIN
(
    SELECT
        market_ticker,
        -- 255 stands for all subaccounts together: none has this number.
        arrayJoin([subaccount_number, 255]) AS of_settlement,
        max(settled_at) AS settled_at,
        any(market_result) AS market_result,
        sum(revenue_dollars) AS revenue,
        count() AS subaccounts
    FROM `mm_fills_settlements` FINAL
    GROUP BY market_ticker, of_settlement
) AS paid
    ON traded.market_ticker = paid.market_ticker AND ifNull(traded.subaccount_number, 255) = paid.of_settlement
COMMENT 'kalshi-fills: fills by market'
