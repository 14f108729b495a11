"""Bringing any table of fills to today's schema."""
