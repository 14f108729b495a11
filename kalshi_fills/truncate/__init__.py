"""Removing rows on purpose, and bringing back a backup; what a fill is belongs to `pipeline`."""
