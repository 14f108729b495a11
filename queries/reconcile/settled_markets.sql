-- title: stored settlements against all fills of their markets, however old these are
-- why: one pass over the fills, of which only the markets come back that differ; a settlement states the
--   totals of a market's life, and its fees are those of the fills; costs and revenue are rounded, and
--   each subaccount is paid for what it holds, so that they differ only beyond a cent and a millionth a fill
SELECT
    count() AS markets,
    countIf(NOT agrees) AS differing,
    groupArrayIf(10001)(ticker, NOT agrees) AS tickers,
    countIf(agrees AND abs(yes_cost_paid - yes_cost_traded) + abs(no_cost_paid - no_cost_traded) > toDecimal128(0.000002, 6) * fills) AS costs_differ,
    anyIf(ticker, agrees AND abs(yes_cost_paid - yes_cost_traded) + abs(no_cost_paid - no_cost_traded) > toDecimal128(0.000002, 6) * fills) AS of_costs,
    countIf(agrees AND payout IS NOT NULL AND abs(revenue - due) > toDecimal128(0.01, 2) * subaccounts) AS revenues_differ,
    anyIf(ticker, agrees AND payout IS NOT NULL AND abs(revenue - due) > toDecimal128(0.01, 2) * subaccounts) AS of_revenues
FROM
(
    SELECT
        paid.ticker AS ticker,
        ifNull(traded.fills, 0) AS fills,
        paid.subaccounts AS subaccounts,
        paid.yes = ifNull(traded.yes, 0) AND paid.no = ifNull(traded.no, 0) AND (ifNull(traded.no_fee, 0) > 0 OR paid.fee = ifNull(traded.fee, 0)) AS agrees,
        paid.yes_cost AS yes_cost_paid,
        paid.no_cost AS no_cost_paid,
        ifNull(traded.yes_cost, 0) AS yes_cost_traded,
        ifNull(traded.no_cost, 0) AS no_cost_traded,
        paid.revenue AS revenue,
        multiIf(
            paid.result = 'yes', toNullable(toDecimal128(1, 6)),
            paid.result = 'no', toDecimal128(0, 6),
            -- What a no contract of a scalar market pays is not documented well enough.
            ifNull(traded.short, 0) = 0, toDecimal128(paid.payout_per_yes, 6),
            NULL
        ) AS payout,
        ifNull(traded.long, 0) * ifNull(payout, 0) + ifNull(traded.short, 0) * (1 - ifNull(payout, 0)) AS due
    FROM
    (
        SELECT
            market_ticker AS ticker,
            count() AS subaccounts,
            sum(yes_contracts) AS yes,
            sum(no_contracts) AS no,
            sum(fee_dollars) AS fee,
            sum(yes_cost_dollars) AS yes_cost,
            sum(no_cost_dollars) AS no_cost,
            sum(revenue_dollars) AS revenue,
            any(market_result) AS result,
            any(payout_per_yes_dollars) AS payout_per_yes
        FROM `mm_fills_settlements` FINAL
        WHERE market_ticker IN (SELECT market_ticker FROM `mm_fills_settlements` FINAL WHERE settled_at >= {start:DateTime64(6, 'UTC')} AND settled_at < {end:DateTime64(6, 'UTC')})
        GROUP BY ticker
    ) AS paid
    LEFT JOIN
    (
        SELECT
            market_ticker AS ticker,
            sum(by_subaccount.fills) AS fills,
            sum(by_subaccount.yes_contracts) AS yes,
            sum(by_subaccount.no_contracts) AS no,
            sum(by_subaccount.fees_dollars) AS fee,
            sum(by_subaccount.fees_unknown) AS no_fee,
            sum(by_subaccount.yes_cost_dollars) AS yes_cost,
            sum(by_subaccount.no_cost_dollars) AS no_cost,
            sum(greatest(by_subaccount.yes_contracts - by_subaccount.no_contracts, 0)) AS long,
            sum(greatest(by_subaccount.no_contracts - by_subaccount.yes_contracts, 0)) AS short
        FROM
        (
            SELECT
                market_ticker,
                subaccount_number,
                /* include settled_sums */
            FROM `mm_fills` FINAL
            WHERE market_ticker IN (SELECT market_ticker FROM `mm_fills_settlements` WHERE settled_at >= {start:DateTime64(6, 'UTC')} AND settled_at < {end:DateTime64(6, 'UTC')})
            GROUP BY market_ticker, subaccount_number
        ) AS by_subaccount
        GROUP BY ticker
    ) AS traded
        ON paid.ticker = traded.ticker
)
