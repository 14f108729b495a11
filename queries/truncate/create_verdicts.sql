-- title: the table of verdicts: every row's digest, and why it goes
-- why: one verdict for the whole removal, however long it takes and whoever writes meanwhile, and
--   for the run that ends it if this one is killed; no operator's own column has such a name
CREATE TABLE `mm_fills__verdicts` /* ON CLUSTER */
(
    `__row` FixedString(16),
    `__reason` LowCardinality(String)
)
ENGINE = MergeTree
ORDER BY __row
COMMENT 'kalshi-fills: which rows a truncate removes'
