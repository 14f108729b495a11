-- title: settled markets whose fills do not add up to what was settled
-- shows: nothing where all is well; a market without any fill in the table shows with zeros
SELECT
    settled.market_ticker AS market_ticker,
    settled.yes AS yes_settled,
    traded.yes AS yes_in_table,
    settled.no AS no_settled,
    traded.no AS no_in_table,
    settled.fees AS fees_settled,
    traded.fees AS fees_in_table
FROM
(
    SELECT market_ticker, sum(yes_contracts) AS yes, sum(no_contracts) AS no, sum(fee_dollars) AS fees
    FROM `mm_fills_settlements` FINAL
    GROUP BY market_ticker
) AS settled
LEFT JOIN
(
    SELECT
        market_ticker,
        sumIf(size, side = 'yes') AS yes,
        sumIf(size, side = 'no') AS no,
        if(countIf(fee_dollars IS NULL) = 0, toNullable(sum(ifNull(fee_dollars, 0))), NULL) AS fees
    FROM `mm_fills` FINAL
    GROUP BY market_ticker
) AS traded
    ON settled.market_ticker = traded.market_ticker
WHERE yes_settled != yes_in_table OR no_settled != no_in_table OR fees_settled != fees_in_table
ORDER BY market_ticker
LIMIT 1000
