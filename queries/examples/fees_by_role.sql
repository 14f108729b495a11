-- title: fees as maker and as taker
-- shows: what fills cost in fees by role; contracts whose fee is not known are left out of the last column
SELECT
    multiIf(is_taker IS NULL, 'unknown', is_taker, 'taker', 'maker') AS role,
    count() AS fills,
    sum(size) AS contracts,
    sum(fee_dollars) AS fees,
    if(sumIf(size, fee_dollars IS NOT NULL) = 0, NULL, toDecimal64(toDecimal256(sum(fee_dollars), 12) / sumIf(size, fee_dollars IS NOT NULL), 6)) AS fee_per_contract
FROM `mm_fills` FINAL
GROUP BY role
ORDER BY role
