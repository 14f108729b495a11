"""Clients of the practice exchange."""

from datetime import UTC, datetime, timedelta

NOW = datetime(2026, 11, 23, tzinfo=UTC)


WEEK_AGO = NOW - timedelta(days=7)
