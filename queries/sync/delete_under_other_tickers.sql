-- title: remove the rows of corrected fills that stand under another ticker
-- why: the ticker is part of the sort key, so that a correction of it cannot replace the row
ALTER TABLE `mm_fills`
DELETE WHERE (fill_id, exchange_order_id, market_ticker) IN (
    SELECT arrayJoin(arrayZip({fill_ids:Array(String)}, {order_ids:Array(String)}, {tickers:Array(String)}))
)
SETTINGS mutations_sync = 2
