"""First syncs: as fast as the exchange answers, with latency, and under the rate limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Final

from bench.competitors import DLT, PYKALSHI, Installed
from bench.engines import CHDB, SERVER, ServerEngine
from bench.exchange import KEY_ID, Limits, Served
from bench.measure import Cost, Failed, in_rounds, run
from bench.setting import Setting, ratios, walls

_LOOP: Final = "bare loop"

_GOALS: Final[Mapping[tuple[str, str], float]] = {
    (SERVER, _LOOP): 3.0,
    (CHDB, _LOOP): 3.6,
    (SERVER, PYKALSHI.name): 0.67,
    (CHDB, PYKALSHI.name): 0.80,
}

_LATENCY_GOAL: Final = 0.6

_PACED_GOAL: Final = 1.10

_REFILL_RATE: Final = 200

_REQUESTS_A_SECOND: Final = _REFILL_RATE / 10


def first_sync(setting: Setting) -> None:
    """Measure a first sync beside the bare loop and the competitors, without latency or limit."""
    fills = setting.count(100_000)
    setting.account("first", fills)
    with setting.serve("first") as served:
        contestants: dict[str, Callable[[], Cost]] = {
            _LOOP: partial(setting.bare_loop, served.url, fills)
        }
        for engine in setting.engines:
            contestants[engine.name] = partial(setting.first_sync, engine, served.url, fills)
        if setting.server is not None:
            for other in setting.competitors:
                contestants[other.competitor.name] = partial(
                    _competitor, setting, setting.server, served, other, fills
                )
        setting.bare_loop(served.url, fills)  # once for the caches
        costs = in_rounds(
            contestants, setting.runs, may_fail=(PYKALSHI.name, DLT.name), say=setting.say
        )
    for engine in setting.engines:
        for name in costs:
            if name in (_LOOP, PYKALSHI.name, DLT.name):
                of = ratios(costs[engine.name], costs[name])
                goal = _GOALS.get((engine.name, name))
                setting.report("first_sync", engine.name, f"x {name}", of, goal)
    for name, each in costs.items():
        label = f"{fills:,} fills: {name}" if name not in (SERVER, CHDB) else f"{fills:,} fills"
        engine_name = name if name in (SERVER, CHDB) else ""
        setting.report("first_sync", engine_name, f"{label}, s", walls(each))
        processor = [cost.processor for cost in each]
        setting.report("first_sync", engine_name, f"{label}, s of processor", processor)


def _competitor(
    setting: Setting, server: ServerEngine, served: Served, other: Installed, fills: int
) -> Cost:
    database = other.competitor.name
    server.create(database)
    words = [served.url, KEY_ID, str(setting.key_file)]
    if other.competitor is DLT:
        words.append(str(server.port))
    words += [str(server.http_port), server.password, database]
    if other.competitor is DLT:
        words.append(str(setting.folder / "dlt"))
    cost, printed = run([*other.command, *words])
    stored = printed.split()[-1:]
    server.drop(database)
    if stored != [str(fills)]:
        raise Failed(f"{other.competitor.name} was to store {fills:,} fills: {printed[-200:]}")
    return cost


def latency(setting: Setting) -> None:
    """Measure a first sync beside the bare loop where every answer takes 40 ms."""
    fills = setting.count(100_000)
    setting.account("first", fills)
    with setting.serve("first", latency_seconds=0.04) as served:
        contestants: dict[str, Callable[[], Cost]] = {
            _LOOP: partial(setting.bare_loop, served.url, fills)
        }
        for engine in setting.engines:
            contestants[engine.name] = partial(setting.first_sync, engine, served.url, fills)
        costs = in_rounds(contestants, setting.runs, say=setting.say)
    for engine in setting.engines:
        of = ratios(costs[engine.name], costs[_LOOP])
        setting.report("latency", engine.name, f"x {_LOOP}, at 40 ms", of, _LATENCY_GOAL)


def paced(setting: Setting) -> None:
    """Measure a first sync under the Basic tier's limit, with buckets of 1, 2 and 3 seconds."""
    engine = setting.server or setting.engines[0]
    fills = setting.count(100_000)
    spans = {
        "paced_years": ("over two years", timedelta(days=730)),
        "paced_hour": ("in one hour", timedelta(hours=1)),
    }
    for name, (where, span) in spans.items():
        pages = setting.account(name, fills, span=span, eras="calendar").pages
        for seconds in (1, 2, 3):
            limits = Limits(_REFILL_RATE, _REFILL_RATE * seconds)
            of, throttled, requests = [], [], []
            for _ in range(setting.runs):
                with setting.serve(name, latency_seconds=0.08, limits=limits) as served:
                    cost = setting.first_sync(engine, served.url, fills)
                    counts = served.counts()
                of.append(cost.wall / (pages / _REQUESTS_A_SECOND))
                throttled.append(float(counts.throttled))
                requests.append(float(counts.fills_pages))
            kind = f"fills {where}, bucket of {seconds} s"
            setting.report("paced", engine.name, f"{kind}: x pages ÷ rate", of, _PACED_GOAL)
            setting.report("paced", engine.name, f"{kind}: answers 429", throttled, 0, places=0)
            label = f"{kind}: requests for {pages} pages"
            setting.report("paced", engine.name, label, requests, places=0)
