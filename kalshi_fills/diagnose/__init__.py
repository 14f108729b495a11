"""Checks, root causes and what they are drawn from. Never writes."""
