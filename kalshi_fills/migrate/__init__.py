"""Bringing any table of fills to today's schema; what that schema is belongs to `warehouse`."""
