"""One bounded pass from the exchange into the table, and the watermark; no repair of a schema."""
