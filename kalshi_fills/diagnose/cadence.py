"""Counts per minute that are too even to be trading: the index of dispersion, lower tail.

Trades come at least as unevenly as independent events (Poisson): bursts and quiet stretches only
add variance. What is evener than chance allows was written by a clock. For n neighbouring bins
with counts x and mean m the statistic is

    D = sum (x - m)^2 / m        chi-squared with n - 1 degrees of freedom under Poisson

and p is the chance of a D as small as this one, by the Wilson-Hilferty approximation, yet never
below the chance of the evenest split there can be, which is what limits the power of few or small
counts. Every stretch of up to an hour is tested by itself, in bins of one and of five minutes, so
that a poller shows beside ordinary hours, and all of them together, each about its own mean, so
that one which writes a few rows at a time shows over a day; p is multiplied by the number of tests
(Bonferroni). Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import groupby
from statistics import NormalDist
from typing import Final, NamedTuple

TEST_NAME: Final = "index of dispersion (variance over mean), lower tail"

FALSE_ALARM_RATE: Final = 1e-6
"""p below which counts are called periodic: one false alarm in a million runs."""

_STRETCH_MINUTES: Final = 60

_SILENCE_MINUTES: Final = 10

_BINS_MINUTES: Final = (1, 5)

_LEAST_BINS: Final = 10

_LEAST_MEAN: Final = 1.0


class Regularity(NamedTuple):
    """The evenest stretch of a table, or all of them, and how likely trading is as even."""

    statistic: float
    """D of that part; of several stretches the sum."""
    degrees_of_freedom: int
    p_value: float
    """For all stretches together: already multiplied by the number of tests."""
    bin_minutes: int
    mean: float
    """Rows a bin."""
    since: datetime
    """When that part begins."""
    minutes: int
    """Minutes of all stretches that were tested."""
    fewest: int
    """Rows of the bin that has the fewest."""
    most: int

    @property
    def is_periodic(self) -> bool:
        """Return whether this is too even to be trading."""
        return self.p_value < FALSE_ALARM_RATE


class _Sample(NamedTuple):
    """The counts of neighbouring bins."""

    since: datetime
    bin_minutes: int
    counts: list[int]


def regularity(rows_per_minute: Mapping[datetime, int]) -> Regularity | None:
    """Return whether counts per minute have a clock's evenness.

    Args:
        rows_per_minute: rows by the start of their minute; a minute left out has none.

    Returns:
        The evenest stretch, or all together where that says more; None where none has enough
        minutes and rows to be tested.
    """
    rows = {int(minute.timestamp()) // 60: count for minute, count in rows_per_minute.items()}
    samples = [
        sample
        for minutes in _stretches(rows)
        for sample in (_sample(rows, minutes, size) for size in _BINS_MINUTES)
        if len(sample.counts) >= _LEAST_BINS
        and sum(sample.counts) >= _LEAST_MEAN * len(sample.counts)
    ]
    if not samples:
        return None
    minutes = sum(
        max(len(one.counts) * one.bin_minutes for one in same)
        for _, same in groupby(samples, key=lambda one: one.since)
    )
    parts = [[sample] for sample in samples]
    for size in _BINS_MINUTES:
        alike = [sample for sample in samples if sample.bin_minutes == size]
        if len(alike) > 1:
            parts.append(alike)
    found = [_test(part, len(parts), minutes) for part in parts]
    return min(found, key=lambda one: (one.p_value, one.statistic, one.bin_minutes))


def _test(part: list[_Sample], tests: int, minutes: int) -> Regularity:
    """Return the test of samples of one size of bins together, each about its own mean."""
    statistic, degrees, log_evenest = 0.0, 0, 0.0
    total, bins = 0, 0
    for sample in part:
        rows, many = sum(sample.counts), len(sample.counts)
        mean = rows / many
        statistic += sum((count - mean) ** 2 for count in sample.counts) / mean
        degrees += many - 1
        log_evenest += _log_chance_of_evenest(rows, many)
        total += rows
        bins += many
    chance = max(_chi_squared_below(statistic, degrees), math.exp(log_evenest))
    p_value = min(1.0, chance * tests)
    size, since = part[0].bin_minutes, part[0].since
    counts = [count for sample in part for count in sample.counts]
    return Regularity(
        statistic,
        degrees,
        p_value,
        size,
        total / bins,
        since,
        minutes,
        min(counts),
        max(counts),
    )


def _stretches(minutes: Iterable[int]) -> Iterator[list[int]]:
    """Yield the minutes with rows, since 1970, cut at every silence and after every hour."""
    piece: list[int] = []
    for minute in sorted(minutes):
        if piece and (
            minute - piece[-1] > _SILENCE_MINUTES or minute - piece[0] >= _STRETCH_MINUTES
        ):
            yield piece
            piece = []
        piece.append(minute)
    if piece:
        yield piece


def _sample(rows: Mapping[int, int], minutes: list[int], bin_minutes: int) -> _Sample:
    """Return the counts of a stretch in bins; the first and the last may be cut off: left out."""
    start = minutes[0] // bin_minutes
    counts = [0] * (minutes[-1] // bin_minutes - start + 1)
    for minute in minutes:
        counts[minute // bin_minutes - start] += rows[minute]
    return _Sample(datetime.fromtimestamp(minutes[0] * 60, UTC), bin_minutes, counts[1:-1])


def _chi_squared_below(statistic: float, degrees: int) -> float:
    """Return P(chi-squared <= statistic), by Wilson and Hilferty's cube root."""
    spread = 2 / (9 * degrees)
    deviate = ((statistic / degrees) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
    return NormalDist().cdf(deviate)


def _log_chance_of_evenest(total: int, bins: int) -> float:
    """Return the log of the chance that independent events spread as evenly as they can."""
    low, higher = divmod(total, bins)
    return (
        math.lgamma(total + 1)
        - (bins - higher) * math.lgamma(low + 1)
        - higher * math.lgamma(low + 2)
        - total * math.log(bins)
        + math.lgamma(bins + 1)
        - math.lgamma(higher + 1)
        - math.lgamma(bins - higher + 1)
    )
