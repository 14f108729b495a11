-- title: the fills of a time range, each with its content
-- why: names the breaks of an hour whose digests differ
SELECT
    fill_id,
    exchange_order_id,
    market_ticker,
    /* content texts */ AS content
FROM `mm_fills` FINAL
WHERE ts >= {start:DateTime64(6, 'UTC')} AND ts < {end:DateTime64(6, 'UTC')}
