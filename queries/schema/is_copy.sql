-- title: whether a table holds nothing but copies that a migration made
SELECT countIf(NOT (source = 'legacy' AND version = 0)) = 0 AS only_copies
FROM `mm_fills__next`
