-- title: which of these refused items are accepted
-- reads: a table `wanted` (fingerprint) that travels with the query
SELECT fingerprint
FROM `mm_fills_rejected`
WHERE fingerprint IN (SELECT fingerprint FROM wanted) AND accepted
GROUP BY fingerprint
