-- title: a fill's id: from its column, or else from the payload, where that is of the same order
-- why: engines of before wrote the payload but not the id; what a query reads from is called `__row_...`
multiIf(
    __row_fill_id != '', __row_fill_id,
    JSONExtractString(__row_payload, 'order_id') != __row_order, '',
    JSONExtractString(__row_payload, 'fill_id') != '', JSONExtractString(__row_payload, 'fill_id'),
    JSONExtractString(__row_payload, 'trade_id')
)
