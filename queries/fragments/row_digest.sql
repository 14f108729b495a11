-- title: 128 bits of an entire row
-- why: distinguishes a row that was there at the verdict from one that came later
sipHash128(toString(tuple(/* include columns */)))
