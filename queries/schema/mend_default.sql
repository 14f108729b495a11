-- title: give content_hash its default
-- why: it keeps rows apart that another writer inserts with a blank fill_id; metadata only
ALTER TABLE `mm_fills` /* ON CLUSTER */
    MODIFY COLUMN `content_hash` UInt64 DEFAULT if(fill_id = '', rand64(), 0)
