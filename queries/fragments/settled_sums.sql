-- title: what the fills of a market and a subaccount add up to, as a settlement states it
-- why: one list of totals, whether markets are looked up or all are held against what is stored
count() AS fills,
min(ts) AS first_fill,
sumIf(size, side = 'yes') AS yes_contracts,
sumIf(size, side = 'no') AS no_contracts,
sumIf(toDecimal128(size, 2) * yes_price_dollars, side = 'yes') AS yes_cost_dollars,
sumIf(toDecimal128(size, 2) * no_price_dollars, side = 'no') AS no_cost_dollars,
sum(ifNull(fee_dollars, 0)) AS fees_dollars,
countIf(fee_dollars IS NULL) AS fees_unknown
