-- title: the fills of one market, each with its content
-- why: names the fills that make a position differ, however old they are
SELECT /* include content_texts */ AS content
FROM `mm_fills` FINAL
WHERE market_ticker = {ticker:String}
