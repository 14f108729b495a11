"""The settlements of a pass: read behind the fills, and never at their cost.

Whatever goes wrong here is a note; the fills and their watermark stand. Settlements have a
watermark of their own, less a day for what comes late:

    what the ledger has                               what is read
    ------------------------------------------------  ---------------------------------------------
    no watermark of this key and table, or --full     every settlement
    the table holds fewer rows than it held           every settlement
    a subaccount that was not read before             every settlement of that subaccount
    otherwise                                         from a day before the watermark on, or from
                                                      --since on where that is earlier
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from kalshi_fills.errors import ExchangeError, WarehouseError
from kalshi_fills.exchange.endpoints import is_not_to_be_had, is_restricted, settlements
from kalshi_fills.pipeline.fills import EARLIEST_FILL
from kalshi_fills.pipeline.settlements import (
    RefusedSettlement,
    Settlement,
    SettlementKey,
    read_settlement,
)
from kalshi_fills.pipeline.values import decode_item
from kalshi_fills.warehouse.standing import SettlementsRead
from kalshi_fills.words import many, one_or_more

if TYPE_CHECKING:
    from kalshi_fills.exchange.endpoints import Exchange
    from kalshi_fills.sync.report import SyncReport
    from kalshi_fills.sync.watermark import SyncRequest
    from kalshi_fills.warehouse.store import FillStore

log = logging.getLogger(__name__)

OVERLAP: Final = timedelta(days=1)
"""How far behind their watermark settlements are read again."""

_SIDE_BY_SIDE: Final = 4
"""Of how many subaccounts the first pages are asked for at once."""

_AT_ONCE: Final = 5_000
"""Settlements looked up and written at once."""


class _Plan(NamedTuple):
    """What a pass reads of settlements."""

    since: dict[int, datetime | None]
    """From when on, by subaccount; None is from the first one on."""
    everything: bool
    """Every settlement is read, so that those that the table holds are counted anew."""
    watermark: datetime | None
    """The one that counts so far."""
    note: str = ""


class _Begun(NamedTuple):
    """A plan, and what is under way of it."""

    of_fills: frozenset[int]
    """The subaccounts whose fills were met by then."""
    plan: _Plan
    listings: dict[int, _Listing]
    """By subaccount."""


class _Listing(NamedTuple):
    """A subaccount's list of settlements."""

    first: Future[list[str]]
    """Its first page, which a thread of its own asks for."""
    others: Iterator[list[str]]
    """The pages after it, asked for one by one."""

    def pages(self) -> Iterator[list[str]]:
        """Yield every page."""
        yield self.first.result()
        yield from self.others


class _Refused(NamedTuple):
    """A refused item, and the subaccount whose list it was in."""

    subaccount: int
    item: RefusedSettlement

    @property
    def is_of_any_time(self) -> bool:
        """Return whether it may be a settlement of whatever time."""
        return self.item.claims_settlement and self.item.settled_at is None


class SettlementPass:
    """Reads and stores the settlements of one pass."""

    def __init__(
        self,
        exchange: Exchange,
        store: FillStore,
        request: SyncRequest,
        report: SyncReport,
        now: datetime,
    ) -> None:
        self._exchange = exchange
        self._store = store
        self._request = request
        self._report = report
        self._now = now
        self._met: dict[int, datetime] = {}
        self._batch: dict[SettlementKey, Settlement] = {}
        self._refused: list[_Refused] = []
        self._left: list[_Refused] = []
        """Refused, and not accepted by the operator."""
        self._begun: _Begun | None = None

    def ask_ahead(self, before: SettlementsRead, of_fills: Collection[int]) -> None:
        """Begin to ask for what `run` reads first; the arguments are the same.

        It may be called again once fills of more subaccounts were met.
        """
        if self._begun is None or self._begun.of_fills != frozenset(of_fills):
            self._begun = None
            with contextlib.suppress(WarehouseError):  # `run` begins anew
                self._begun = self._begin(before, of_fills)

    def run(
        self, before: SettlementsRead, current_until: datetime, of_fills: Collection[int]
    ) -> SettlementsRead:
        """Read and store settlements; return how far they are known to be stored then.

        Args:
            before: what earlier passes read.
            current_until: the time up to which the exchange's answers are complete.
            of_fills: the subaccounts whose fills this pass met; a dry run writes none of them.
        """
        report = self._report
        done: set[int] = set()
        try:
            _, plan, listings = self._begun or self._begin(before, of_fills)
            report.note(plan.note)
            refusals = self._read_all(listings, done)
            self._write()
        except (ExchangeError, WarehouseError) as error:
            report.note(
                f"Not all settlements were stored: {error.message}. The fills are not affected, "
                "and the next run reads the settlements again."
            )
            return before._replace(held=before.held + report.settlements.n_new)
        self._note_refused_rows()
        self._note_refusals(refusals, done)
        if not done:
            return before
        held = before.held + report.settlements.n_new
        if plan.everything:
            held = len(self._met)
        current = min(self._now, current_until)
        mark = next_mark(plan.watermark, current, [one.item for one in self._left])
        done -= {one.subaccount for one in self._left if one.is_of_any_time}
        return SettlementsRead(mark, tuple(sorted(done)), held)

    def _plan(self, read: SettlementsRead, of_fills: Collection[int]) -> _Plan:
        request = self._request
        subaccounts = {0, *read.subaccounts, *of_fills}
        if not read.subaccounts or request.full or self._report.counts.n_inserted:
            subaccounts |= set(self._store.subaccounts())
        everything = dict.fromkeys(sorted(subaccounts))
        if read.watermark is None:
            return _Plan(everything, True, None)
        if self._store.settlements.rows() < read.held:
            return _Plan(
                everything,
                True,
                None,
                "Every settlement was read again: their table holds fewer rows than it held after "
                "the last finished run.",
            )
        if request.full:
            return _Plan(everything, True, read.watermark)
        start = max(read.watermark - OVERLAP, EARLIEST_FILL)
        if request.since is not None:
            start = min(start, request.since)
        since = {number: start if number in read.subaccounts else None for number in everything}
        return _Plan(since, False, read.watermark)

    def _begin(self, before: SettlementsRead, of_fills: Collection[int]) -> _Begun:
        plan = self._plan(before, of_fills)
        threads = ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="settlements")
        listings: dict[int, _Listing] = {}
        for subaccount, since in sorted(plan.since.items()):
            pages = settlements(self._exchange, subaccount, since)
            listings[subaccount] = _Listing(threads.submit(next, pages), pages)
        threads.shutdown(wait=False)  # it ends once all are answered
        return _Begun(frozenset(of_fills), plan, listings)

    def _read_all(
        self, listings: Mapping[int, _Listing], done: set[int]
    ) -> dict[int, ExchangeError]:
        """Read the settlements of each subaccount; return those that are refused to this key.

        Args:
            listings: by subaccount.
            done: is added each subaccount that was read to its end.
        """
        refusals: dict[int, ExchangeError] = {}
        for subaccount, listing in listings.items():
            try:
                for items in listing.pages():
                    self._take(items, subaccount)
            except ExchangeError as error:
                if not is_not_to_be_had(error):
                    raise
                refusals[subaccount] = error
                if not is_restricted(error):
                    return refusals
            else:
                done.add(subaccount)
        return refusals

    def _take(self, items: Iterable[str], subaccount: int) -> None:
        counts = self._report.settlements
        for item in items:
            counts.n_api += 1
            found = read_settlement(decode_item(item), item, subaccount, self._now)
            if isinstance(found, RefusedSettlement):
                counts.n_rejected += 1
                self._refused.append(_Refused(subaccount, found))
                continue
            met, key = hash(found.key), found.key
            before = self._met.get(met)
            if before is not None and before >= found.settled_at:
                counts.n_known += 1
                continue
            counts.n_known += key in self._batch
            self._met[met] = found.settled_at
            self._batch[key] = found
        if len(self._batch) + len(self._refused) >= _AT_ONCE:
            self._write()

    def _write(self) -> None:
        """Write what was gathered, and put what was refused into quarantine."""
        batch, self._batch = self._batch, {}
        refused, self._refused = self._refused, []
        if batch:
            written = self._store.settlements.write(list(batch.values()))
            counts = self._report.settlements
            counts.n_new += written.new
            counts.n_corrected += written.corrected
            counts.n_known += written.known
        if refused:
            items = [one.item for one in refused]
            self._store.quarantine(items, self._now)
            accepted = self._store.accepted(items)
            if not self._request.accept_rejected:
                self._left += [one for one in refused if one.item.fingerprint not in accepted]

    def _note_refused_rows(self) -> None:
        if not self._left:
            return
        reasons = Counter(str(one.item.reason) for one in self._left)
        listed = ", ".join(f"{reason} {number:,}" for reason, number in sorted(reasons.items()))
        table, count = f"{self._store.tables.fills}_rejected", len(self._left)
        self._report.note(
            f"{many(count, 'item')} in the list of settlements could not be read and "
            f"{one_or_more(count, 'is', 'are')} kept in {table} ({listed}). Upgrade kalshi-fills, "
            f"or accept {one_or_more(count, 'it', 'them')}: "
            "`kalshi-fills sync --accept-rejected`."
        )

    def _note_refusals(self, refusals: dict[int, ExchangeError], done: Collection[int]) -> None:
        if not refusals:
            return
        named = ", ".join(map(str, sorted(refusals)))
        of_which = f" of subaccount {named}" if done else ""
        why = next(iter(refusals.values())).message
        self._report.note(f"Settlements{of_which} were not read: {why}.")


def next_mark(
    before: datetime | None, current_until: datetime, left: Iterable[RefusedSettlement]
) -> datetime | None:
    """Return the watermark of settlements: it does not pass one that could not be read.

    Args:
        before: the last one.
        current_until: up to when what was read is complete.
        left: what was refused, and not accepted by the operator.
    """
    mark = current_until.replace(microsecond=0)
    if before is not None:
        mark = max(mark, before)
    for one in left:
        if not one.claims_settlement:
            continue
        if one.settled_at is None:
            return before
        mark = min(mark, one.settled_at.replace(microsecond=0))
    return mark
