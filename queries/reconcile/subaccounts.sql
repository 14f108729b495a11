-- title: the subaccounts that the table knows
SELECT DISTINCT subaccount_number
FROM `mm_fills`
WHERE subaccount_number IS NOT NULL
ORDER BY subaccount_number
