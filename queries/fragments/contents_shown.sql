-- title: time and digest of a fill as FINAL may show it: one pair, or two where that is undefined
-- why: of rows of the highest version the one of the greatest digest, and the one of the least
arrayDistinct([
    (argMax(ts, __greatest), toUInt64(bitAnd(max(__greatest), toUInt128(18446744073709551615)))),
    (argMax(ts, __least), bitNot(toUInt64(bitAnd(max(__least), toUInt128(18446744073709551615)))))
])
