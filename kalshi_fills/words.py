"""Counts in sentences, with the words that go with them."""

from __future__ import annotations


def many(count: int, noun: str) -> str:
    """Return a count with its noun, as `1 row` or `2,000 rows`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def one_or_more(count: int, one: str, more: str) -> str:
    """Return the words that go with a count: `is` or `are`, `differs` or `differ`."""
    return one if count == 1 else more
