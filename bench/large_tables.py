"""Commands over tables with many rows: what they cost must not grow with the table."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Final

from bench.engines import Engine, add_rows
from bench.measure import Cost, Failed, in_rounds
from bench.setting import Setting, ratios, walls

_YEARS: Final = timedelta(days=730)

_AGAIN_GOALS: Final = {20: 1.25, 40: 1.2}
"""By millions of rows, as multiples of what it costs over one million."""

_NOTHING_NEW_GOAL: Final = 2.2

_OFFLINE_GOAL_SECONDS: Final = 5.0


def again(setting: Setting) -> None:
    """Measure a sync of 20,000 fills that are all known, over tables of 1, 20 and 40 million."""
    engine = setting.server or setting.engines[0]
    fills = setting.count(20_000)
    setting.account("again", fills, span=timedelta(days=1))
    millions = [1, 20, *([40] if setting.large else [])]
    with setting.serve("again") as served:
        contestants: dict[str, Callable[[], Cost]] = {}
        for each in millions:
            url = setting.fresh(engine, f"again{each}")
            setting.sync(url, served.url, inserts=fills)
            rows = setting.count(each * 1_000_000) - fills
            newest = setting.now - timedelta(days=2)
            add_rows(url, rows, newest - _YEARS, newest)
            contestants[str(each)] = partial(_sync_again, setting, url, served.url, fills)
        costs = in_rounds(contestants, setting.runs, say=setting.say)
    for each in millions:
        rows = setting.count(each * 1_000_000)
        measured = f"{fills:,} known fills again, {rows:,} rows"
        setting.report("again", engine.name, f"{measured}, s", walls(costs[str(each)]))
        if each > 1:
            of = ratios(costs[str(each)], costs["1"])
            label = f"{measured}: x over {setting.count(1_000_000):,} rows"
            setting.report("again", engine.name, label, of, _AGAIN_GOALS[each])
        engine.drop(f"again{each}")


def _sync_again(setting: Setting, url: str, api: str, fills: int) -> Cost:
    words = ("sync", "--rate-share", "1", "--since", "26h")
    cost, printed = setting.tool(*words, url=url, api=api)
    if printed["stages"]["n_known"] != fills:
        raise Failed(f"sync was to find {fills:,} known fills: {printed['stages']}")
    return cost


def nothing_new(setting: Setting) -> None:
    """Measure a sync with nothing new over 10 million rows beside the bare imports."""
    rows = setting.count(10_000_000)
    fills = 2_000
    setting.account("nothing_new", fills)
    with setting.serve("nothing_new") as served:
        contestants: dict[str, Callable[[], Cost]] = {"imports": setting.imports}
        for engine in setting.engines:
            url = _large_table(setting, engine, served.url, fills, rows)
            contestants[engine.name] = partial(setting.sync, url, served.url, inserts=0)
        setting.imports()  # once for the caches
        costs = in_rounds(contestants, setting.runs, say=setting.say)
    for engine in setting.engines:
        measured = f"nothing new, {rows:,} rows"
        of = ratios(costs[engine.name], costs["imports"])
        label = f"{measured}: x the bare imports"
        setting.report("nothing_new", engine.name, label, of, _NOTHING_NEW_GOAL)
        setting.report("nothing_new", engine.name, f"{measured}, s", walls(costs[engine.name]))


def offline(setting: Setting) -> None:
    """Measure `diagnose --offline` over 10 million rows."""
    rows = setting.count(10_000_000)
    fills = 2_000
    setting.account("nothing_new", fills)
    with setting.serve("nothing_new") as served:
        urls = {
            engine.name: _large_table(setting, engine, served.url, fills, rows)
            for engine in setting.engines
        }
    windows = {"the last day": "24h", **({"all rows": "800d"} if setting.large else {})}
    contestants = {
        f"{name}, {window}": partial(_diagnose_offline, setting, url, since)
        for name, url in urls.items()
        for window, since in windows.items()
    }
    costs = in_rounds(contestants, setting.runs, say=setting.say)
    for name in urls:
        for window, since in windows.items():
            label = f"diagnose --offline, {rows:,} rows, window of {window}, s"
            seconds = walls(costs[f"{name}, {window}"])
            goal = _OFFLINE_GOAL_SECONDS if since == "24h" else None
            setting.report("offline", name, label, seconds, goal)


def _diagnose_offline(setting: Setting, url: str, since: str) -> Cost:
    words = ("diagnose", "--offline", "--since", since)
    return setting.tool(*words, url=url, accepted=(0, 3))[0]


def _large_table(setting: Setting, engine: Engine, api: str, fills: int, rows: int) -> str:
    """Return the URL of a table that holds an account's fills and many rows besides.

    It is made once for all benchmarks of a run.
    """
    url = engine.url("large")
    if (engine.name, rows) not in setting.large_tables:
        setting.fresh(engine, "large")
        setting.sync(url, api, inserts=fills)
        # Older than the overlap, which a sync with nothing new compares with the exchange.
        newest = setting.now - timedelta(hours=2)
        add_rows(url, rows - fills, newest - _YEARS, newest)
        setting.large_tables.add((engine.name, rows))
    return url
