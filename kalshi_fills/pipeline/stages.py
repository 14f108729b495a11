"""The counts of a pass and their identity, and its refusals by reason.

Of what came from the exchange each item is counted in one place at the end: it was inserted as new
or as a correction, it was known, it was a duplicate within the pass, or it was refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Final, NamedTuple

from kalshi_fills.errors import CountsError
from kalshi_fills.pipeline.fills import (
    EXPECTED_KEYS,
    KNOWN_KEYS,
    STAGE_OF,
    Reason,
    Rejected,
    Stage,
)

_MOST_KEYS: Final = 100


@dataclass(slots=True)
class Counts:
    """How many items reached each stage, and what became of them."""

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
        """Return every count by name, `n_inserted` last."""
        own = {entry.name: int(getattr(self, entry.name)) for entry in fields(self)}
        return {**own, "n_inserted": self.n_inserted}

    def rates(self) -> dict[str, str]:
        """Return the pass rates by name, each such as `100.0%`."""
        return {
            "predicate_pass_rate": percent(self.n_real, self.n_api),
            "validation_pass_rate": percent(self.n_valid, self.n_real),
            "gate_pass_rate": percent(self.n_gated, self.n_valid),
        }

    def check(self) -> None:
        """Check the identity of the counts.

        Raises:
            CountsError: an item is counted nowhere at the end, or twice.
        """
        out = self.n_inserted + self.n_known + self.n_duplicate + self.n_rejected
        if self.n_api != out:
            raise CountsError(
                f"the counts do not add up: {self.n_api} items came from the exchange, "
                f"{out} are accounted for",
                hint="nothing is recorded as done; report this with the run's log line",
            )


def percent(part: int, total: int) -> str:
    """Return a share such as `99.9%`: of nothing `100.0%`, which no lesser share is rounded to."""
    if part == total:
        return "100.0%"
    return f"{min(part / total * 100, 99.9):.1f}%"


@dataclass(frozen=True, slots=True)
class RefusedGroup:
    """Refused items of one stage and reason."""

    stage: Stage
    reason: Reason
    count: int
    keys: list[str]
    """The keys of the items, sorted; 100 at most."""


class Drift(NamedTuple):
    """How refused items that claim to be fills differ from fills."""

    new_keys: list[str]
    """Keys that they have and no fill ever had."""
    missing_keys: list[str]
    """Keys that every fill of today has and one of them lacks."""


@dataclass(slots=True)
class Refusals:
    """What a pass refused, summed up by reason, in bounded memory."""

    _groups: dict[Reason, tuple[int, set[str]]] = field(default_factory=dict)
    _claiming_keys: set[str] = field(default_factory=set)
    _lacking_keys: set[str] = field(default_factory=set)

    def add(self, rejected: Rejected) -> None:
        """Count one refusal."""
        count, keys = self._groups.get(rejected.reason, (0, set()))
        if len(keys) < _MOST_KEYS:
            keys.update(rejected.keys)
        self._groups[rejected.reason] = (count + 1, keys)
        if rejected.claims_fill and len(self._claiming_keys) < _MOST_KEYS:
            self._claiming_keys.update(rejected.keys)
            self._lacking_keys.update(EXPECTED_KEYS.difference(rejected.keys))

    def groups(self) -> list[RefusedGroup]:
        """Return one group for each reason, in the order of the stages."""
        order = list(Reason)
        return [
            RefusedGroup(STAGE_OF[reason], reason, count, sorted(keys)[:_MOST_KEYS])
            for reason, (count, keys) in sorted(
                self._groups.items(), key=lambda entry: order.index(entry[0])
            )
        ]

    def drift(self) -> Drift:
        """Return how refused items that claim to be fills differ from fills."""
        return Drift(sorted(self._claiming_keys - KNOWN_KEYS), sorted(self._lacking_keys))
