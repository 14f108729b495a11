-- title: note of each row whether it goes: those that are older than a moment
-- why: all versions of a fill share its verdict, save one that came after it was judged
INSERT INTO `mm_fills__verdicts` (__row, __reason)
SELECT /* include row_digest */, if(version <= __version, __reason, '')
FROM `mm_fills`
LEFT ANY JOIN
(
    SELECT __key, __version, __reason
    FROM (/* include older */)
    WHERE __reason != ''
) AS __judged ON /* include key_digest */ = __key
