"""Counts in sentences."""

from __future__ import annotations


def many(count: int, noun: str) -> str:
    """Return a count with its noun, as `1 row` or `2,000 rows`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def one_or_more(count: int, one: str, more: str) -> str:
    """Return the word that goes with a count: `is` or `are`, `was` or `were`."""
    return one if count == 1 else more
