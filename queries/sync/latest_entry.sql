-- title: the time of the latest entry in the run ledger
-- why: what counts later must be written later, whatever the clocks of other hosts say
SELECT max(recorded_at) AS moment
FROM `mm_fills_runs`
