-- title: wait until this replica has what the others have
SYSTEM SYNC REPLICA `mm_fills__replica` LIGHTWEIGHT
