-- title: whether this user may only read (1 or 2)
SELECT toUInt8(getSetting('readonly')) AS level
