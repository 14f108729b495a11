"""Where a pass starts, and how far its watermark may move. Pure: no HTTP, no SQL, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from kalshi_fills.errors import SettingsError
from kalshi_fills.pipeline.fills import EARLIEST_FILL
from kalshi_fills.pipeline.window import Window
from kalshi_fills.warehouse.standing import TableState

LAG_WITHOUT_AS_OF: Final = timedelta(minutes=15)
"""How far the watermark stays behind where the exchange does not say how current it is."""

LATE_AS_OF: Final = timedelta(hours=1)
"""An exchange whose data are complete only up to an earlier time than this ago gets a note."""


class SyncRequest(NamedTuple):
    """What the operator asked this pass to do."""

    since: datetime | None = None
    until: datetime | None = None
    full: bool = False
    overlap: timedelta = timedelta(hours=1)
    accept_rejected: bool = False
    dry_run: bool = False
    same_account: bool = False
    """The exchange's address differs from that of the last finished run, the account does not."""


@dataclass(slots=True)
class Caps:
    """What keeps the watermark of a pass back."""

    unproven_since: datetime | None = None
    """The event time from which on the table is not proven right."""
    claimed_since: datetime | None = None
    """The event time of the earliest refused item that claims to be a fill."""
    claim_without_time: bool = False
    """A refused item may be a fill of any time."""

    def cap_watermark(self, moment: datetime) -> None:
        """Keep the watermark from passing a time from which on the table is not proven right."""
        self.unproven_since = min(moment, self.unproven_since or moment)

    def cap_at_claim(self, moment: datetime | None) -> None:
        """Keep the watermark from passing a refused item; None where its time says nothing."""
        if moment is None:
            self.claim_without_time = True
        else:
            self.claimed_since = min(moment, self.claimed_since or moment)

    def accept_claims(self) -> None:
        """Forget the refused items: the operator accepted them."""
        self.claimed_since, self.claim_without_time = None, False


class Capped(NamedTuple):
    """How far the watermark may move, and a note on what keeps it back."""

    watermark: datetime | None
    note: str = ""


class TableProof(NamedTuple):
    """What the table at the end of a pass says of the watermark."""

    watermark: datetime | None
    table: TableState
    """What the ledger keeps of the table."""
    note: str = ""


def choose_window(request: SyncRequest, watermark: datetime | None, now: datetime) -> Window:
    """Return the range of event times that a pass asks for.

    Raises:
        SettingsError: the range would end before it starts.
    """
    end = request.until or now
    if request.since is not None:
        return _ordered(max(request.since, EARLIEST_FILL), end)
    if request.full or watermark is None:
        return Window(None, end)
    # An overlap may reach back beyond the calendar; no fill does.
    watermark = max(watermark, EARLIEST_FILL)
    overlap = min(request.overlap, watermark - EARLIEST_FILL)
    start = watermark - overlap
    if request.until is None and start >= end:  # our clock was set back behind the watermark
        start = end - max(overlap, timedelta(seconds=1))
    return _ordered(start, end)


def _ordered(start: datetime, end: datetime) -> Window:
    if start >= end:
        raise SettingsError(
            f"--until lies before {start:%Y-%m-%dT%H:%M:%SZ}, where this run would start",
            hint="give --since, too, to read a range of the past again",
        )
    return Window(start, end)


def complete_until(as_of: datetime | None, now: datetime) -> Capped:
    """Return the event time up to which the exchange's answers are complete.

    Args:
        as_of: what the exchange says of it; None where it says nothing.
        now: when the pass began.
    """
    if as_of is None:
        return Capped(now - LAG_WITHOUT_AS_OF)
    if now - as_of <= LATE_AS_OF:
        return Capped(as_of)
    hours = (now - as_of) / timedelta(hours=1)
    return Capped(
        as_of,
        f"The exchange calls its data complete up to {as_of:%Y-%m-%dT%H:%M:%SZ} only, "
        f"{hours:,.1f} hours behind the clock: what is newer may be incomplete, was not compared, "
        "and is read again by later runs.",
    )


def next_watermark(
    window: Window, before: datetime | None, current_until: datetime, caps: Caps
) -> datetime | None:
    """Return where the next window starts (less the overlap).

    | found                                         | watermark                               |
    | --------------------------------------------- | --------------------------------------- |
    | the window begins after the last watermark    | stays: what lies between was not read   |
    | a refused item may be a fill of any time      | stays                                   |
    | else                                          | the window's end, or the time up to     |
    |                                               | which the exchange is complete          |
    | an old range was read again                   | never goes back for it                  |
    | something not proven, or refused, from a time | goes no further than that time          |
    """
    reaches_back = window.start is None or (before is not None and window.start <= before)
    mark = before
    if reaches_back and not caps.claim_without_time:
        mark = min(window.end, current_until).replace(microsecond=0)
        if before is not None:
            mark = max(mark, before)
    if mark is None:
        return None
    for cap in (caps.unproven_since, caps.claimed_since):
        if cap is not None:
            mark = min(mark, cap.replace(microsecond=0))
    return max(mark, EARLIEST_FILL)


def moves(mark: datetime | None, before: datetime | None) -> bool:
    """Return whether a watermark is further than the one before."""
    return mark is not None and (before is None or mark > before)


def cap_at_archive(mark: datetime, before: datetime | None, cutoff: datetime | None) -> Capped:
    """Return the watermark where the live listing had no item, so that nothing shows it works.

    Args:
        mark: how far it would move.
        before: the last watermark.
        cutoff: where the archive ends, if the archive listed items; else None.
    """
    if cutoff is not None and (before is None or cutoff > before):
        return Capped(
            min(mark, cutoff.replace(microsecond=0)),
            "The watermark goes no further than the archive does: the live listing had no item at "
            "all, and an account without recent fills looks like an exchange in maintenance.",
        )
    return Capped(
        before,
        "The watermark stays: the exchange listed no item at all, and an account without fills "
        "looks like an exchange in maintenance.",
    )


def prove_table(
    mark: datetime | None, at_start: TableState, at_end: TableState, least: int, expected: int
) -> TableProof:
    """Return the watermark, or none where the table was replaced or lost rows during the pass.

    Args:
        mark: how far it would move.
        at_start: the table when the pass began.
        at_end: the table when it ended.
        least: the fills that it holds at least, if nobody removed any.
        expected: the fills that it holds.
    """
    if at_end.identity == at_start.identity and at_end.rows >= least:
        return TableProof(mark, TableState(at_end.identity, min(expected, at_end.rows)))
    return TableProof(
        None,
        TableState(at_end.identity, 0),
        "No watermark: the table was replaced, or rows were removed, while this run was at work; "
        "the next run reads from the account's first fill on.",
    )
