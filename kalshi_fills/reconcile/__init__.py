"""Exchange against table: breaks by fill, by order, by position. Repairs nothing."""
