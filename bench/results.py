"""What was measured, line by line, and the Markdown table of it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Result(NamedTuple):
    """One figure of a benchmark, measured once in each round."""

    benchmark: str
    engine: str
    """`server`, `chdb`, or empty where no engine takes part."""
    measured: str
    """What the figure is, such as `x the bare loop`."""
    values: Sequence[float]
    goal: float | None = None
    """At most; None where there is none."""
    places: int = 2

    @property
    def median(self) -> float:
        """The figure."""
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """`yes` or `no`, or nothing without a goal."""
        if self.goal is None:
            return ""
        return "yes" if round(self.median, self.places) <= self.goal else "no"

    def text(self, value: float) -> str:
        """Return a value as it is printed."""
        return f"{value:,.{self.places}f}"

    @property
    def spread(self) -> str:
        """The least and the greatest value, where there are several."""
        if len(self.values) == 1:
            return ""
        return f"{self.text(min(self.values))} to {self.text(max(self.values))}"

    @property
    def line(self) -> str:
        """One line for a person who waits."""
        goal = "" if self.goal is None else f", goal {self.goal:g}: {self.verdict}"
        spread = f" ({self.spread})" if self.spread else ""
        return (
            f"{self.benchmark:12} {self.engine:7} {self.text(self.median):>9}{spread} "
            f"{self.measured}{goal}"
        )


def markdown(results: Sequence[Result], about: Sequence[str]) -> str:
    """Return tables that can be pasted into a page, and below them what they were measured on.

    One has the figures that have a goal, the other one all others.
    """
    lines: list[str] = []
    with_goal = [result for result in results if result.goal is not None]
    if with_goal:
        lines += [
            "| benchmark | engine | measured | median | least to most | goal | reached |",
            "| --- | --- | --- | ---: | ---: | ---: | --- |",
            *(_row(*_cells(result), f"{result.goal:g}", result.verdict) for result in with_goal),
            "",
        ]
    others = [result for result in results if result.goal is None]
    if others:
        lines += [
            "| benchmark | engine | measured | median | least to most |",
            "| --- | --- | --- | ---: | ---: |",
            *(_row(*_cells(result)) for result in others),
            "",
        ]
    return "\n".join((*lines, *about))


def _cells(result: Result) -> tuple[str, ...]:
    return (
        result.benchmark,
        result.engine,
        result.measured,
        result.text(result.median),
        result.spread,
    )


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
