-- title: which of these refused items were accepted by the operator
SELECT fingerprint
FROM `mm_fills_rejected`
WHERE fingerprint IN {fingerprints:Array(String)} AND accepted
GROUP BY fingerprint
