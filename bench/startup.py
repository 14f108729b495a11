"""What a command costs that does nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable

from bench.measure import Cost, in_rounds, run
from bench.setting import Setting, ratios, walls


def startup(setting: Setting) -> None:
    """Measure `--version` and `--help` beside the bare imports."""

    def printing(word: str) -> Callable[[], Cost]:
        return lambda: run([sys.executable, "-m", "kalshi_fills", word])[0]

    words = ("--version", "--help")
    contestants = {"imports": setting.imports, **{word: printing(word) for word in words}}
    for measure in contestants.values():
        measure()  # once for the caches
    costs = in_rounds(contestants, setting.runs, say=setting.say)
    for word in words:
        setting.report(
            "startup", "", f"{word}: x the bare imports", ratios(costs[word], costs["imports"])
        )
    for name, each in costs.items():
        setting.report("startup", "", f"{name}, s", walls(each))
