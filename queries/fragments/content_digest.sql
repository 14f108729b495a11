-- title: 64 bits of a fill's content
-- why: computed from the columns, never read from `content_hash`: an edited row must show
xxHash64(arrayStringConcat(arrayMap(text -> concat(toString(length(text)), ':', text), /* include content_texts */)))
