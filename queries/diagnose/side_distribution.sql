-- title: rows by side and action
-- shows: rows and contracts by the outcome acquired, and by the action as it was sent
-- normal: side is yes or no and nothing else; a market maker has both
SELECT
    coalesce(COLUMNS('^side$'), '') AS side_acquired,
    coalesce(COLUMNS('^action$'), '') AS action_sent,
    count() AS row_count,
    toString(sum(toDecimal128OrZero(toString(coalesce(COLUMNS('^size$'), 0)), 2))) AS contracts
FROM `mm_fills` /* include final */
WHERE /* include window */ /* by hand: */ ts >= now() - INTERVAL 24 HOUR AND ts < now() /* end */
GROUP BY side_acquired, action_sent
ORDER BY side_acquired, action_sent
/* by hand: */ SETTINGS final = 1 /* end */
