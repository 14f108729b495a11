-- title: note of each row whether it goes: those that are no valid fills or repeat one
-- why: all versions of a fill share its verdict, save one that came after it was judged
INSERT INTO `mm_fills__verdicts` (__row, __reason)
SELECT /* row digest */, if(version <= __version, __reason, '')
FROM `mm_fills`
LEFT ANY JOIN
(
    SELECT __key, __version, __reason
    FROM (/* garbage */)
    WHERE __reason != ''
) AS __judged ON /* key digest */ = __key
