-- title: write new fills
-- reads: a table `block` that travels with the statement
-- why: what only an engine knows of a fill is left to the columns' defaults
INSERT INTO `mm_fills`
(
    /* include sent_columns */
)
SELECT
    /* include sent_columns */
FROM
(
    /* include block_fills */
)
