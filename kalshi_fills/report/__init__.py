"""What the commands found, as tables, JSON, a page, progress and log lines. Asks nobody itself."""
