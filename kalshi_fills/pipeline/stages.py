"""The counts of a pass, their identity, and what was refused by reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import NamedTuple

from kalshi_fills.errors import CountsError
from kalshi_fills.pipeline.batch import read_items
from kalshi_fills.pipeline.fills import (
    EXPECTED_KEYS,
    KNOWN_KEYS,
    STAGE_OF,
    Fill,
    JsonValue,
    Reason,
    Rejected,
    Stage,
)


@dataclass(slots=True)
class Counts:
    """How many items reached which stage; see the module for the identity."""

    n_api: int = 0
    n_raw: int = 0
    n_real: int = 0
    n_valid: int = 0
    n_gated: int = 0
    n_new: int = 0
    n_corrected: int = 0
    n_known: int = 0
    n_duplicate: int = 0
    n_rejected: int = 0

    @property
    def n_inserted(self) -> int:
        """Rows written, as new or as a correction."""
        return self.n_new + self.n_corrected

    def as_dict(self) -> dict[str, int]:
        """Give every count by name, `n_inserted` last."""
        own = {entry.name: int(getattr(self, entry.name)) for entry in fields(self)}
        return {**own, "n_inserted": self.n_inserted}

    def rates(self) -> dict[str, str]:
        """Give the pass rates as operators grep for them, such as `100.0%`."""
        return {
            "predicate_pass_rate": percent(self.n_real, self.n_api),
            "validation_pass_rate": percent(self.n_valid, self.n_real),
            "gate_pass_rate": percent(self.n_gated, self.n_valid),
        }

    def check(self) -> None:
        """Hold the identity.

        Raises:
            CountsError: an item went in and did not come out.
        """
        out = self.n_inserted + self.n_known + self.n_duplicate + self.n_rejected
        if self.n_api != out:
            raise CountsError(
                f"the counts do not add up: {self.n_api} items came from the exchange, "
                f"{out} are accounted for",
                hint="nothing is recorded as done; report this with the run's log line",
            )


def percent(part: int, whole: int) -> str:
    """Give a share as `99.9%`; of nothing, all passed. Only a full share reads 100.0%."""
    if part == whole:
        return "100.0%"
    return f"{min(part / whole * 100, 99.9):.1f}%"


@dataclass(frozen=True, slots=True)
class RefusedGroup:
    """Refused items of one stage and reason."""

    stage: Stage
    reason: Reason
    count: int
    keys: list[str]
    """Keys the items had, sorted; the first 100 kinds."""


class Drift(NamedTuple):
    """How refused items that claim to be fills differ from what fills look like."""

    new_keys: list[str]
    """Keys they have that no fill ever had."""
    missing_keys: list[str]
    """Keys every fill of today has and they lack."""


@dataclass(slots=True)
class Refusals:
    """What was refused in a pass, summed up by reason; memory is bounded by the reasons."""

    _groups: dict[Reason, tuple[int, set[str]]] = field(default_factory=dict)
    _claiming_keys: set[str] = field(default_factory=set)
    _lacking_keys: set[str] = field(default_factory=set)

    def add(self, rejected: Rejected) -> None:
        """Count one refusal."""
        count, keys = self._groups.get(rejected.reason, (0, set()))
        if len(keys) < 100:
            keys.update(rejected.keys)
        self._groups[rejected.reason] = (count + 1, keys)
        if rejected.claims_fill and len(self._claiming_keys) < 100:
            self._claiming_keys.update(rejected.keys)
            self._lacking_keys.update(EXPECTED_KEYS.difference(rejected.keys))

    def groups(self) -> list[RefusedGroup]:
        """Give one group for each reason, in the order of the stages."""
        order = list(Reason)
        return [
            RefusedGroup(STAGE_OF[reason], reason, count, sorted(keys)[:100])
            for reason, (count, keys) in sorted(
                self._groups.items(), key=lambda entry: order.index(entry[0])
            )
        ]

    def drift(self) -> Drift:
        """Say how refused items that claim to be fills differ from fills."""
        return Drift(sorted(self._claiming_keys - KNOWN_KEYS), sorted(self._lacking_keys))


class Sorted(NamedTuple):
    """What a batch of items came to."""

    fills: list[Fill]
    """Fills, in the order they came; the same one may be there twice."""
    rejected: list[Rejected]


def sort_items(
    items: Iterable[tuple[JsonValue, str]], source: str, now: datetime, counts: Counts
) -> Sorted:
    """Take items through the stages raw to gated, and count them.

    Args:
        items: decoded items, each with the text it came as.
        source: the tier they came from.
        now: the clock for event-time gates.
        counts: is added to.
    """
    kept: list[Fill] = []
    rejected: list[Rejected] = []
    for outcome in read_items(items, source, now):
        if isinstance(outcome, Fill):
            kept.append(outcome)
        else:
            rejected.append(outcome)
    passed = len(kept)
    fell = dict.fromkeys(Stage, 0)
    for refusal in rejected:
        fell[refusal.stage] += 1
    counts.n_gated += passed
    counts.n_valid += passed + fell[Stage.GATED]
    counts.n_real += passed + fell[Stage.GATED] + fell[Stage.VALID]
    counts.n_raw += passed + len(rejected) - fell[Stage.RAW]
    counts.n_api += passed + len(rejected)
    counts.n_rejected += len(rejected)
    return Sorted(kept, rejected)
