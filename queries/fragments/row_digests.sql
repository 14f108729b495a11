-- title: of a row: which fill it is, and its version and content as one number
-- why: rows with a blank fill_id are each a fill of its own, kept apart by their content_hash
market_ticker,
            fill_id,
            exchange_order_id,
            if(fill_id = '', content_hash, 0) AS __apart,
            ts,
            /* include content_digest */ AS __digest,
            bitShiftLeft(toUInt128(version), 64) + __digest AS __greatest,
            bitShiftLeft(toUInt128(version), 64) + bitNot(__digest) AS __least
