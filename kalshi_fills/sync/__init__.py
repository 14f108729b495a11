"""One bounded pass from the exchange into the table, and the watermark it may record."""
