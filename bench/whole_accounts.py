"""Passes over whole accounts: the time of a diagnosis, and memory that must not grow."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Final

from bench.engines import Engine
from bench.measure import Cost, Failed, in_rounds
from bench.setting import Setting, ratios, walls

_DIAGNOSE_GOAL: Final = 1.2

_MEMORY_GOALS_MIB: Final = {2_000_000: 50, 5_000_000: 120}
"""By fills, how much more than at 100,000."""

_MEMORY_RUNS: Final = 3
"""Memory is not as noisy as time."""


def diagnose(setting: Setting) -> None:
    """Measure a diagnosis of a whole account beside a first sync of it."""
    fills = setting.count(2_000_000 if setting.large else 200_000)
    setting.account("whole", fills, with_orders=True)
    with setting.serve("whole") as served:
        contestants: dict[str, Callable[[], Cost]] = {}
        for engine in setting.engines:
            url = setting.fresh(engine, "whole")
            setting.sync(url, served.url, inserts=fills)
            contestants[f"sync {engine.name}"] = partial(
                setting.first_sync, engine, served.url, fills
            )
            contestants[f"diagnose {engine.name}"] = partial(_diagnose, setting, url, served.url)
        costs = in_rounds(contestants, setting.runs, say=setting.say)
    for engine in setting.engines:
        synced, diagnosed = (costs[f"{name} {engine.name}"] for name in ("sync", "diagnose"))
        measured = f"diagnose of {fills:,} fills"
        of = ratios(diagnosed, synced)
        setting.report("diagnose", engine.name, f"{measured}: x a first sync", of, _DIAGNOSE_GOAL)
        setting.report("diagnose", engine.name, f"{measured}, s", walls(diagnosed))
        for name, each in ((measured, diagnosed), (f"first sync of {fills:,} fills", synced)):
            peaks = [cost.peak_mib for cost in each]
            setting.report("diagnose", engine.name, f"{name}, peak MiB", peaks, places=0)
        engine.drop("whole")


def _diagnose(setting: Setting, url: str, api: str) -> Cost:
    since = (setting.now - timedelta(days=100)).isoformat()
    cost, printed = setting.tool("diagnose", "--since", since, url=url, api=api, accepted=(0, 3))
    checks = {check["name"]: check for check in printed["checks"]}
    if checks["volume_matches_api"]["status"] != "pass":
        raise Failed(f"diagnose was to find all fills: {checks['volume_matches_api']}")
    return cost


def memory(setting: Setting) -> None:
    """Measure the resident memory of first syncs of 100,000, 2 and 5 million fills."""
    runs = min(setting.runs, _MEMORY_RUNS)
    sizes = [100_000, *_MEMORY_GOALS_MIB][: None if setting.large else 2]
    peaks = {
        (engine.name, size): _peaks(setting, engine, setting.count(size), runs)
        for size in sizes
        for engine in setting.engines
    }
    for engine in setting.engines:
        for size in sizes:
            fills = setting.count(size)
            found = peaks[engine.name, size]
            label = f"first sync of {fills:,} fills, peak MiB"
            setting.report("memory", engine.name, label, found, places=0)
            if size in _MEMORY_GOALS_MIB:
                base = peaks[engine.name, sizes[0]]
                grown = [peak - least for peak, least in zip(found, base, strict=True)]
                # In one process with the engine, no one can tell whose memory it is.
                goal = _MEMORY_GOALS_MIB[size] if engine is setting.server else None
                label = f"MiB more at {fills:,} than at {setting.count(sizes[0]):,} fills"
                setting.report("memory", engine.name, label, grown, goal, places=0)


def _peaks(setting: Setting, engine: Engine, fills: int, runs: int) -> list[float]:
    name = f"memory{fills}"
    setting.account(name, fills)
    with setting.serve(name) as served:
        return [setting.first_sync(engine, served.url, fills).peak_mib for _ in range(runs)]
