-- title: make an empty table like the table of fills
-- why: with the operator's own columns, indexes, codecs and settings
CREATE TABLE `mm_fills__new` /* ON CLUSTER */ AS `mm_fills`
