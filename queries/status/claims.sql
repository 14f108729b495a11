-- title: how many refused items claim to be fills and were not accepted
SELECT count() AS claims
FROM `mm_fills_rejected` FINAL
WHERE claims_fill AND NOT accepted
