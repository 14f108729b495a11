"""Which watermark counts for a run: whose it is, and for which table it was recorded.

    what the ledger has                               what the run does
    ------------------------------------------------  ---------------------------------------------
    last finished run of another environment          ends with a refusal, unless it is called the
                                                      same account
    no finished run of this key                       reads from the account's first fill on
    this key, but the table is another one, or holds  reads from the account's first fill on
    fewer rows than fills were held
    this key, this table                              reads from the watermark on

No I/O: `store` reads the ledger, `sync` and `truncation` decide by what is here.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import NamedTuple

from kalshi_fills.errors import SettingsError
from kalshi_fills.words import many


class Account(NamedTuple):
    """Whose fills a run reads, as far as the ledger keeps it."""

    environment: str
    """`prod`, `demo`, or a digest of the API's root."""
    key_digest: str
    """Digest of the API key's id; the id itself is never stored."""


class TableState(NamedTuple):
    """What can be known of the fills table without a look at each row."""

    identity: str
    """Changes when the table is made anew, not when it is renamed; empty where not known."""
    rows: int
    """Rows stored, replaced versions that are not merged yet included; without those of other
    writers where there are more than expected."""
    all_rows: int = 0
    """Rows stored, whoever wrote them."""


class TableChanges(NamedTuple):
    """What truncate and migrate did to the fills table since a moment."""

    entries: int
    rewinds: int
    """How many of them set the watermark back."""
    to_none: bool
    """One of them left no watermark at all."""
    earliest: datetime | None
    """The earliest watermark that was set."""
    identity: str
    """Of the table after the last of them; empty where that one was not finished."""
    fills_held: int
    """The fewest fills that one of them left."""

    def cap(self, mark: datetime | None) -> datetime | None:
        """Return a watermark, or the earliest one that it was set back to."""
        if not self.rewinds:
            return mark
        if self.to_none or mark is None or self.earliest is None:
            return None
        return min(mark, self.earliest)


class SettlementsRead(NamedTuple):
    """How far the settlements of an account are known to be stored."""

    watermark: datetime | None = None
    subaccounts: tuple[int, ...] = ()
    """Those whose settlements up to the watermark are stored."""
    held: int = 0
    """How many settlements their table held at least."""


class Standing(NamedTuple):
    """What the ledger keeps for one API key, later rewinds taken into account."""

    has_run: bool
    """A finished run used this key."""
    watermark: datetime | None
    identity: str
    """Of the fills table that the watermark was recorded for; empty where not known."""
    fills_held: int
    """How many fills the table held at least."""
    environment: str = ""
    """Of the table's last finished run of any key; empty where none recorded it."""
    runs_of_others: int = 0
    """Finished runs of other keys."""
    runs_without_key: int = 0
    """Finished runs of a version that recorded no key."""
    open_breaks: str = ""
    """The breaks that the last finished run of any key left open, as JSON."""
    settlements: SettlementsRead = SettlementsRead()

    def table_change(self, state: TableState) -> str:
        """Return in which way the table is not what the ledger says, or an empty text."""
        if self.identity and state.identity and self.identity != state.identity:
            return (
                "the table is another one than that of the last finished run (it was made anew, "
                "restored, or renamed)"
            )
        if state.rows < self.fills_held:
            return (
                f"the table holds {many(state.rows, 'row')} of fills, fewer than the "
                f"{self.fills_held:,} that it held after the last finished run (rows were removed "
                "by hand)"
            )
        return ""

    def why_from_the_start(self, state: TableState) -> str:
        """Return why the watermark does not count, or an empty text if it does, or there is none.

        The first run of all needs no explanation, nor a watermark that truncate set back.
        """
        if not self.has_run:
            if self.runs_of_others:
                return "no finished run used this API key, and another key may see other fills"
            if self.runs_without_key:
                return (
                    "the finished runs are those of an earlier version of kalshi-fills, which did "
                    "not record which API key they used"
                )
            return ""
        return "" if self.watermark is None else self.table_change(state)


def account_of(environment: str, key_id: str) -> Account:
    """Return the account of an API key, its id as a digest that is salted by the environment."""
    text = f"kalshi-fills\0{environment}\0{key_id}"
    return Account(environment, hashlib.sha256(text.encode()).hexdigest()[:32])


def require_same_account(recorded: str, environment: str, table: str) -> None:
    """Refuse an exchange that is not the one whose fills the table holds.

    Args:
        recorded: the environment of the table's last finished run; empty where none recorded it.
        environment: the one asked for now.
        table: the table's name, for the message.

    Raises:
        SettingsError: they differ.
    """
    if recorded in ("", environment):
        return
    raise SettingsError(
        f"{table} holds the fills of {_called(recorded)}, and KALSHI_API_URL names "
        f"{_called(environment)}",
        hint="name a table of its own for another account with --table; if it is the same account "
        "under another address, run `kalshi-fills sync --same-account` once",
    )


def _called(environment: str) -> str:
    return environment if environment in ("prod", "demo") else f"another address ({environment})"
