"""What the commands found, as tables, JSON, pages, progress and log lines."""
