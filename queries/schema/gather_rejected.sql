-- title: add to the quarantine what other tables have seen and it has not
-- why: sightings add up, so only the difference is copied, and running it again adds none
INSERT INTO `mm_fills__to`
(
    fingerprint, stage, reason, keys, raw_json, claims_fill, accepted, first_seen, last_seen,
    times_seen, run_id
)
SELECT
    __item,
    __stage,
    __reason,
    __keys,
    __payload,
    __claims,
    __accepted,
    __first,
    __last,
    if(__times > __seen_here, __times - __seen_here, 0),
    __run
FROM
(
    SELECT
        fingerprint AS __item,
        anyLast(stage) AS __stage,
        anyLast(reason) AS __reason,
        anyLast(keys) AS __keys,
        anyLast(raw_json) AS __payload,
        max(claims_fill) AS __claims,
        max(accepted) AS __accepted,
        min(first_seen) AS __first,
        max(last_seen) AS __last,
        sum(times_seen) AS __times,
        anyLast(run_id) AS __run
    FROM (SELECT * FROM `all mm_fills__from`)
    GROUP BY fingerprint
) AS __old
LEFT JOIN
(
    SELECT
        fingerprint AS __item_here,
        sum(times_seen) AS __seen_here,
        max(accepted) AS __accepted_here
    FROM `mm_fills__to`
    GROUP BY fingerprint
) AS __new ON __item = __item_here
WHERE __times > __seen_here OR __accepted > __accepted_here
