"""Exchange against table: breaks by fill, by order, by position; no verdicts, and no repairs."""
