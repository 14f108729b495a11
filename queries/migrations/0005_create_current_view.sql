-- title: the fills as they are, whatever is merged yet
-- why: a reader that forgets FINAL would count rows, not fills
CREATE OR REPLACE VIEW `mm_fills_current` /* ON CLUSTER */ AS
SELECT *
FROM `mm_fills` FINAL
