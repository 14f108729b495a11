"""Removing rows on purpose, and bringing them back."""
