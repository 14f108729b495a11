"""Moments, durations and shares."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from support.mistakes import mistake

from kalshi_fills.cli.options import duration, moment, share
from kalshi_fills.errors import Mistakes

NOW = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "back"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("24h", timedelta(hours=24)),
        ("7d", timedelta(days=7)),
        ("0s", timedelta(0)),
        (" 7d ", timedelta(days=7)),
        ("36500d", timedelta(days=36500)),
    ],
)
def test_a_duration_is_back_from_now(text: str, back: timedelta) -> None:
    mistakes = Mistakes()
    assert moment(text, NOW, "--since", mistakes) == NOW - back
    assert duration(text, "--overlap", mistakes) == back
    mistakes.raise_if_any()


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-11-20T15:00:00Z", datetime(2026, 11, 20, 15, tzinfo=UTC)),
        ("2026-11-20T15:00:00", datetime(2026, 11, 20, 15, tzinfo=UTC)),
        ("2026-11-20 15:00", datetime(2026, 11, 20, 15, tzinfo=UTC)),
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
        ("2026-11-20T15:00:00.000417+01:00", datetime(2026, 11, 20, 14, 0, 0, 417, tzinfo=UTC)),
        ("20261120T150000Z", datetime(2026, 11, 20, 15, tzinfo=UTC)),
    ],
)
def test_an_instant_without_a_zone_is_utc(text: str, meant: datetime) -> None:
    mistakes = Mistakes()
    read = moment(text, NOW, "--since", mistakes)
    mistakes.raise_if_any()
    assert read == meant
    assert read is not None
    assert read.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "24", "h", "-1h", "1.5h", "24 h", "24H", "1w", "1h30m", "now"),
        *("\u0662h", "2026-13-01", "2026-02-31T00:00:00Z", "999999999d", "1795185069"),
        "0001-01-01T00:00:00+10:00",
    ],
)
def test_any_other_time_is_a_mistake_that_names_the_option(text: str) -> None:
    mistakes = Mistakes()
    assert moment(text, NOW, "--since", mistakes) is None
    error = mistake(mistakes.raise_if_any)
    assert "--since" in error.message


@pytest.mark.parametrize("text", ["", "1", "h", "-1h", "2026-11-20", "1.5h"])
def test_any_other_duration_is_a_mistake_that_names_the_option(text: str) -> None:
    mistakes = Mistakes()
    duration(text, "--overlap", mistakes)
    error = mistake(mistakes.raise_if_any)
    assert "--overlap" in error.message


@pytest.mark.parametrize("value", ["0", "-0.5", "1.01", "nan", "inf", "much", ""])
def test_a_share_is_above_0_and_at_most_1(value: str) -> None:
    mistakes = Mistakes()
    for right in ("1", "1.0", "0.001"):
        assert share(right, "--rate-share", mistakes) == float(right)
    mistakes.raise_if_any()
    share(value, "--rate-share", mistakes)
    assert "--rate-share" in mistake(mistakes.raise_if_any).message
