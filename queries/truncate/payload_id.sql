-- title: a fill's id, from its column or else from its own payload
-- why: engines of before wrote the payload but not the id; included by other statements
multiIf(
    fill_id != '', fill_id,
    JSONExtractString(raw_json, 'order_id') != exchange_order_id, '',
    JSONExtractString(raw_json, 'fill_id') != '', JSONExtractString(raw_json, 'fill_id'),
    JSONExtractString(raw_json, 'trade_id')
)
