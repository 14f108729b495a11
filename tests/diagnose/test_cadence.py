"""The test for a clock's evenness: what a poller writes fails, what trading makes does not."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta

import pytest

from kalshi_fills.diagnose.cadence import FALSE_ALARM_RATE, Regularity, regularity

START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY_MINUTES = 24 * 60
HALF_A_DAY = DAY_MINUTES // 2


def series(counts: Iterable[int], start: datetime = START) -> dict[datetime, int]:
    """Return rows by minute, as the query does: a minute without rows is left out."""
    return {start + number * MINUTE: count for number, count in enumerate(counts) if count}


def polled(
    seconds: float, rows: int, hours: float = 24, offset: float = 0.0
) -> dict[datetime, int]:
    """Return what a poller writes that stores so many rows every so many seconds."""
    times = (offset + number * seconds for number in range(int(hours * 3600 / seconds)))
    found = Counter(int(at // 60) for at in times)
    return {START + minute * MINUTE: polls * rows for minute, polls in found.items()}


def poisson(rng: random.Random, mean: float) -> int:
    """Draw a Poisson number; by the normal law where the mean is large."""
    if mean > 60:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    level, number, product = math.exp(-mean), 0, rng.random()
    while product > level:
        number += 1
        product *= rng.random()
    return number


# What a clock writes


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(series([6] * DAY_MINUTES), id="6, 6, 6 for a day"),
        pytest.param(series([6] * 40), id="6, 6, 6 for forty minutes"),
        pytest.param(series([79, 80] * 30), id="79, 80 for an hour"),
        pytest.param(series([79, 80, 79, 80, 80] * 12), id="the incident's hour"),
        pytest.param(series([1] * 240), id="one a minute"),
        pytest.param(series([2] * 120), id="two a minute"),
        pytest.param(polled(10, 1), id="a row every ten seconds"),
        pytest.param(polled(10, 13, hours=1), id="thirteen every ten seconds for an hour"),
        pytest.param(polled(300, 5), id="five rows every five minutes"),
        pytest.param(polled(300, 50), id="fifty rows every five minutes"),
        pytest.param(polled(300, 50, offset=299), id="five minutes, at the end of the minute"),
        pytest.param(polled(300, 400, hours=3), id="400 every five minutes for three hours"),
        pytest.param(polled(60, 20), id="twenty every minute"),
        pytest.param(polled(7, 3), id="three every seven seconds"),
        pytest.param(polled(45, 10), id="ten every 45 seconds"),
    ],
)
def test_what_a_clock_writes_fails(rows: Mapping[datetime, int]) -> None:
    found = regularity(rows)

    assert found is not None
    assert found.is_periodic
    assert found.p_value < FALSE_ALARM_RATE


def test_a_poller_shows_beside_half_a_day_of_trading() -> None:
    rng = random.Random(1)
    trading = [poisson(rng, rng.expovariate(1 / 30)) for _ in range(HALF_A_DAY)]

    found = regularity(series([*trading, *[30] * HALF_A_DAY]))

    assert found is not None
    assert found.is_periodic
    assert found.since >= START + (HALF_A_DAY - 60) * MINUTE


def test_a_poller_in_the_last_hour_of_a_week_shows() -> None:
    rng = random.Random(2)
    week = [poisson(rng, rng.expovariate(1 / 30)) for _ in range(7 * DAY_MINUTES - 60)]

    found = regularity(series([*week, *[79, 80] * 30]))

    assert found is not None
    assert found.is_periodic


def test_a_poller_under_a_little_trading_shows() -> None:
    """Five thousand rows an hour of garbage, with fifty real fills among them."""
    rng = random.Random(3)

    found = regularity(series(80 + poisson(rng, 0.8) for _ in range(60)))

    assert found is not None
    assert found.is_periodic


# What trading makes


def test_too_few_minutes_say_nothing() -> None:
    assert regularity({}) is None
    assert regularity(series([6] * 11)) is None
    assert regularity(series([1])) is None
    assert regularity(series([5_000])) is None
    assert regularity({START + number * 30 * MINUTE: 6 for number in range(500)}) is None


def test_five_fills_of_an_hour_say_nothing() -> None:
    assert regularity({START + number * 9 * MINUTE: 1 for number in range(5)}) is None


def test_twelve_minutes_in_a_row_are_enough_to_be_tested() -> None:
    found = regularity(series([6] * 12))

    assert found is not None
    assert found.degrees_of_freedom == 9
    assert found.statistic == 0.0


@pytest.mark.parametrize("size", [1, 5])
def test_the_statistic_is_variance_over_mean_times_degrees_of_freedom(size: int) -> None:
    counts = [4, 6, 5, 5, 7, 3, 5, 5, 6, 4, 5, 5]
    if size == 1:
        found = regularity(series([1, *counts, 1]))
        mean = sum(counts) / len(counts)
    else:
        found = regularity(
            {START + 5 * number * MINUTE: n for number, n in enumerate([9, *counts])}
        )
        counts = counts[:10]  # an hour has twelve, of which the first and the last are left out
        mean = sum(counts) / len(counts)

    assert found is not None
    expected = sum((count - mean) ** 2 for count in counts) / mean
    assert found.bin_minutes == size
    assert found.statistic == pytest.approx(expected)
    assert found.degrees_of_freedom == len(counts) - 1
    assert found.mean == pytest.approx(mean)


Maker = Callable[[random.Random], list[int]]


def plain(rng: random.Random) -> list[int]:
    mean = rng.choice((0.3, 1.0, 1.3, 2.0, 6.0, 20.0, 80.0, 500.0))
    return [poisson(rng, mean) for _ in range(rng.choice((12, 30, 60, 180)))]


def bursty(rng: random.Random) -> list[int]:
    counts = [0] * rng.choice((60, 120, 240))
    for _ in range(rng.randrange(1, 60)):
        at = rng.randrange(len(counts))
        for _ in range(rng.choice((1, 2, 3, 5, 9, 40))):
            counts[min(at, len(counts) - 1)] += 1
            at += rng.random() < 0.3
    return counts


def seasonal(rng: random.Random) -> list[int]:
    """Quiet nights and busy afternoons, twelve minutes standing for an hour."""
    top = rng.choice((0.5, 2.0, 10.0, 60.0))
    return [
        poisson(rng, top * (0.05 + math.sin(math.pi * minute / 288) ** 2)) for minute in range(288)
    ]


def single_minute(rng: random.Random) -> list[int]:
    counts = [0] * 60
    counts[rng.randrange(60)] = rng.choice((1, 6, 5_000))
    return counts


MAKERS: tuple[Maker, ...] = (plain, bursty, seasonal, single_minute)


def alarms(count: int) -> list[tuple[int, str, Regularity]]:
    """Return the series of trading that were called periodic."""
    found = []
    for seed in range(count):
        rng = random.Random(seed)
        make = MAKERS[seed % len(MAKERS)]
        outcome = regularity(series(make(rng)))
        if outcome is not None and outcome.is_periodic:
            found.append((seed, make.__name__, outcome))
    return found


def test_trading_raises_no_alarm() -> None:
    assert alarms(1_500) == []


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_trading_raises_no_alarm_in_100_000_series() -> None:
    """At one false alarm in a million runs, two in 100,000 would already be a wrong test."""
    found = alarms(100_000)
    assert len(found) <= 1, found


def quantiles(count: int, make: Maker) -> list[float]:
    outcomes = (regularity(series(make(random.Random(seed)))) for seed in range(count))
    return [outcome.p_value for outcome in outcomes if outcome is not None]


def test_p_is_no_smaller_than_it_says() -> None:
    """Of pure chance, no more come below a p than p: the part that simulation can reach."""
    found = quantiles(4_000, plain)

    assert len(found) > 2_500
    for level in (0.1, 0.01, 0.003):
        below = sum(p < level for p in found)
        assert below <= level * len(found) + 4 * math.sqrt(level * len(found)), (level, below)


@pytest.mark.torture
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mean", [1.0, 1.5, 3.0, 6.0, 30.0, 500.0])
@pytest.mark.parametrize("minutes", [12, 20, 60, 720])
def test_p_is_no_smaller_than_it_says_far_out(mean: float, minutes: int) -> None:
    many = 20_000 if minutes < 100 else 2_000

    found = quantiles(many, lambda rng: [poisson(rng, mean) for _ in range(minutes)])

    for level in (0.05, 0.01, 0.001, 0.0003):
        below = sum(p < level for p in found)
        assert below <= level * len(found) + 4 * math.sqrt(level * len(found)) + 1, (level, below)
