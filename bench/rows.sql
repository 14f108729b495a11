-- title: rows of fills that no exchange lists, as a real table holds them
-- why: looking up, summing and diagnosing must cost what they cost over real tickers, ids and
--   payloads: markets that live for hours or days, three fills to an order, one order in one market
INSERT INTO /* include table */
(
    ts, fill_id, exchange_order_id, market_ticker, side, action, outcome_side, book_side,
    price_cents, yes_price_dollars, no_price_dollars, size, fee_dollars, is_taker,
    subaccount_number, exchange_index, direction_inferred, id_synthetic, source, content_hash,
    raw_json, version
)
SELECT
    ts, fill_id, exchange_order_id, market_ticker, side, action, outcome_side, book_side,
    price_cents, yes_price_dollars, no_price_dollars, size, fee_dollars, is_taker,
    subaccount_number, exchange_index, direction_inferred, id_synthetic, source,
    /* include content_digest */,
    concat(
        '{"action":"', action, '","book_side":"', book_side, '","count_fp":"', toDecimalString(size, 2),
        '","created_time":"', formatDateTime(ts, '%Y-%m-%dT%H:%i:%S.%fZ', 'UTC'),
        '","exchange_index":', toString(exchange_index), ',"fee_cost":"', toDecimalString(fee_dollars, 6),
        '","fill_id":"', fill_id, '","is_taker":', if(is_taker, 'true', 'false'),
        ',"market_ticker":"', market_ticker, '","no_price_dollars":"', toDecimalString(no_price_dollars, 4),
        '","order_id":"', exchange_order_id, '","outcome_side":"', side, '","side":"', side,
        '","subaccount_number":', toString(subaccount_number), ',"ticker":"', market_ticker,
        '","trade_id":"', fill_id, '","ts":', toString(toUnixTimestamp(ts)),
        ',"yes_price_dollars":"', toDecimalString(yes_price_dollars, 4), '"}'
    ),
    1
FROM
(
    SELECT
        intDiv(number, 3) AS order_number,
        sipHash64(order_number, 'order') AS of_order,
        sipHash64(number, 'fill') AS of_fill,
        toInt64(/* include newest_us */ - 60000000 - sipHash64(order_number, 'time') % /* include span_us */) AS order_us,
        fromUnixTimestamp64Micro(order_us + toInt64(of_fill % 60000000), 'UTC') AS ts,
        toString(reinterpretAsUUID(sipHash128(number, 'fill'))) AS fill_id,
        toString(reinterpretAsUUID(sipHash128(order_number, 'order'))) AS exchange_order_id,
        of_order % 7 AS series,
        [3, 6, 24, 24, 48, 36, 120][series + 1] * 3600 AS life_seconds,
        intDiv(intDiv(order_us, 1000000), life_seconds) + 1 AS settles_in,
        concat(
            ['KXBTCD', 'KXETHD', 'KXHIGHNY', 'KXINXD', 'KXNBAGAME', 'KXMVESPORTS', 'KXCPIYOY'][series + 1], '-',
            upper(formatDateTime(toDateTime(toUInt32(settles_in * life_seconds), 'UTC'), '%y%b%d%H')), '-',
            ['T99', 'T100', 'T101', 'T102'][intDiv(of_order, 7) % 4 + 1]
        ) AS market_ticker,
        if(intDiv(of_order, 28) % 2, 'yes', 'no') AS side,
        if(side = 'yes', 'buy', 'sell') AS action,
        side AS outcome_side,
        if(side = 'yes', 'bid', 'ask') AS book_side,
        1 + intDiv(of_order, 56) % 99 AS cents,
        toDecimal32(if(side = 'yes', cents, 100 - cents), 4) AS price_cents,
        CAST(toDecimal32(cents, 6) / 100, 'Decimal(9, 6)') AS yes_price_dollars,
        CAST(1 - yes_price_dollars, 'Decimal(9, 6)') AS no_price_dollars,
        toDecimal64(1 + of_fill % 100, 2) AS size,
        CAST(toDecimal64(intDiv(of_fill, 100) % 200000, 6) / 1000000, 'Decimal(18, 6)') AS fee_dollars,
        toBool(intDiv(of_fill, 7) % 4 = 0) AS is_taker,
        toUInt8(intDiv(of_order, 11) % 2) AS subaccount_number,
        toUInt8(series % 4) AS exchange_index,
        false AS direction_inferred,
        false AS id_synthetic,
        if(ts < now64(6, 'UTC') - INTERVAL 60 DAY, 'historical', 'live') AS source
    FROM numbers(/* include rows */)
)
