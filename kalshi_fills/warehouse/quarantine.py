"""The quarantine: refused items, kept as they came until somebody accepts them.

What makes an item refused is decided in `pipeline`; which of them cost an exit code, in `sync`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from kalshi_fills.warehouse.client import TextTable, Warehouse, select
from kalshi_fills.warehouse.statements import Tables

_REJECTED_COLUMNS: Final = (
    "fingerprint",
    "stage",
    "reason",
    "keys",
    "raw_json",
    "claims_fill",
    "accepted",
    "first_seen",
    "last_seen",
    "times_seen",
    "run_id",
)


_CLAIMS_AT_ONCE: Final = 5_000


_CLOSED_AT_ONCE: Final = 1_000
"""Fingerprints in one statement: as many as fit into a parameter of any server."""


class Refused(Protocol):
    """An item that was refused: a fill, or a settlement."""

    @property
    def fingerprint(self) -> str:
        """32 hex digits, equal for equal content."""
        ...

    @property
    def stage(self) -> str:
        """Where it was refused."""
        ...

    @property
    def reason(self) -> str:
        """Why."""
        ...

    @property
    def keys(self) -> tuple[str, ...]:
        """Its keys, in their order."""
        ...

    @property
    def raw_json(self) -> str:
        """The text of the item, as it came."""
        ...

    @property
    def claims_fill(self) -> bool:
        """True where it may be a fill all the same."""
        ...


class Claim(NamedTuple):
    """A refused item that claims to be a fill."""

    fingerprint: str
    payload: str


class _Fingerprint(NamedTuple):
    fingerprint: str


class _Payload(NamedTuple):
    payload: str


@dataclass(frozen=True, slots=True)
class Quarantine:
    """The quarantine as one run uses it."""

    warehouse: Warehouse
    tables: Tables
    run_id: UUID

    def keep(self, rejected: Sequence[Refused], seen_at: datetime) -> None:
        """Keep refused items as they came; one that comes back is counted, not repeated."""
        times: dict[str, int] = {}
        kept: dict[str, Refused] = {}
        for item in rejected:
            times[item.fingerprint] = times.get(item.fingerprint, 0) + 1
            kept[item.fingerprint] = item
        rows = [
            (
                fingerprint,
                str(item.stage),
                str(item.reason),
                list(item.keys),
                item.raw_json,
                item.claims_fill,
                False,
                seen_at,
                seen_at,
                times[fingerprint],
                self.run_id,
            )
            for fingerprint, item in kept.items()
        ]
        self.warehouse.insert(self.tables.name("_rejected"), _REJECTED_COLUMNS, rows)

    def accepted(self, rejected: Sequence[Refused]) -> set[str]:
        """Return the fingerprints among these that are accepted, which cost no exit code."""
        fingerprints = sorted({item.fingerprint for item in rejected})
        if not fingerprints:
            return set()
        wanted = TextTable(("fingerprint",), [(fingerprint,) for fingerprint in fingerprints])
        statement = self.tables.sql("sync/accepted_fingerprints")
        found = select(self.warehouse, _Fingerprint, statement, wanted=wanted)
        return {row.fingerprint for row in found}

    def accept(self, *, all_of_this_run: bool = False) -> None:
        """Accept what is in quarantine and costs an exit code.

        Args:
            all_of_this_run: also accept the items this run refused that claim nothing.
        """
        self.warehouse.command(self.tables.sql("sync/accept_rejected"))
        if all_of_this_run:
            self.warehouse.command(
                self.tables.sql("sync/accept_refused_by_run"), {"run_id": self.run_id}
            )

    def open_claims(self) -> Iterator[list[Claim]]:
        """Yield, page by page, the claims that are not accepted, save those this run refused."""
        after = ""
        while True:
            found = select(
                self.warehouse,
                Claim,
                self.tables.sql("sync/open_claims"),
                {"after": after, "run_id": self.run_id, "at_most": _CLAIMS_AT_ONCE},
            )
            yield found
            if len(found) < _CLAIMS_AT_ONCE:
                return
            after = found[-1].fingerprint

    def close_claims(self, fingerprints: Sequence[str]) -> None:
        """Accept these claims: their fills are stored."""
        for start in range(0, len(fingerprints), _CLOSED_AT_ONCE):
            self.warehouse.command(
                self.tables.sql("sync/close_claims"),
                {"fingerprints": list(fingerprints[start : start + _CLOSED_AT_ONCE])},
            )

    def contradicted(self) -> list[str]:
        """Return the payloads in quarantine that contradict another report of their fill."""
        found = select(self.warehouse, _Payload, self.tables.sql("sync/contradicted_payloads"))
        return [row.payload for row in found]
