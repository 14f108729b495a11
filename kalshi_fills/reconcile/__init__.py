"""Exchange against table: breaks by fill, order, position and settled market; no verdicts."""
