"""The account's tables in ClickHouse as a sync uses them.

Looking up what is stored of a block of fills, writing what is new or differs, the quarantine, and
the ledger of runs. It decides nothing about what a fill is; it knows columns, versions and links.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from kalshi_fills import __version__
from kalshi_fills.errors import InsertUnknown, WarehouseError
from kalshi_fills.pipeline.content import (
    CONTENT_FIELDS,
    Content,
    Difference,
    completed,
    content,
    contents,
    differences,
    digest,
    time_of,
)
from kalshi_fills.pipeline.fills import Fill, FillKey, Rejected
from kalshi_fills.pipeline.seen import HourDigest
from kalshi_fills.pipeline.stages import Counts
from kalshi_fills.warehouse.client import Column, TextTable, Warehouse
from kalshi_fills.warehouse.grants import missing_grants
from kalshi_fills.warehouse.runs import LATER_COLUMNS, Run, Unfinished, ledger_has_columns
from kalshi_fills.warehouse.standing import Standing, TableChanges, TableState
from kalshi_fills.warehouse.statements import Tables

NO_UUID: Final = UUID(int=0)

FILL_COLUMNS: Final = (
    *CONTENT_FIELDS,
    "id_synthetic",
    "source",
    "run_id",
    "content_hash",
    "raw_json",
    "version",
    "client_order_id",
    "engine_instance_id",
    "engine_version",
    "decision_id",
)
"""The columns the tool writes, in order; the table fills in the engines' own from these."""

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

_DERIVED_COLUMNS: Final = ("price", "fee")
"""Columns of the engines that the table makes of the others."""

_NULLABLE: Final = frozenset(("fee_dollars", "is_taker", "subaccount_number", "exchange_index"))
"""Columns of the content that have no value where the text is empty."""

_INCOMPARABLE: Final = re.compile(r"AggregateFunction|JSON|Object|Dynamic|Variant")
"""Types whose values the engine may not be able to compare."""

_MAX_VERSION: Final = (1 << 64) - 1

_SETTLE_SECONDS: Final = 60.0

_SETTLE_WAIT_SECONDS: Final = 1.0

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_CLAIMS_AT_ONCE: Final = 5_000

_CLOSED_AT_ONCE: Final = 1_000
"""Fingerprints in one statement: as many as fit into a parameter of any server."""


class Stored(NamedTuple):
    """What the table holds of one fill, whole."""

    contents: tuple[Content, ...]
    """The contents of its rows of the highest version, the one that knows most first."""
    version: int
    tickers: list[str]
    """Every ticker it stands under; more than one is a stale row."""
    undefined: bool
    """Rows of the highest version differ in something: which of them FINAL shows is chance."""
    unfinished: bool
    """A correction of its ticker was cut short."""
    links_lost: bool
    """The row that counts lacks a link that a row it replaced has."""

    @property
    def content(self) -> Content:
        """The content that counts; where that is undefined, the one that knows most."""
        return self.contents[0]


class _Row(NamedTuple):
    """A row to be written."""

    fill: Fill
    texts: Content
    digest: int
    version: int


class _Known(NamedTuple):
    """What the table holds of one fill, in short."""

    digest: int
    version: int
    care: bool
    """It needs a closer look, although its content may be right."""


class _Plan(NamedTuple):
    """What becomes of a block."""

    outcome: list[Written]
    new: list[_Row]
    corrected: list[_Row]
    """Rows that replace one of the same key."""
    moved: list[_Row]
    """Rows of which another stands under another ticker."""
    stale: list[tuple[FillKey, str]]
    """Fills, and the tickers under which they must not stand."""


class Written(NamedTuple):
    """What became of one fill of a block."""

    fill: Fill
    digest: int
    """The digest the table holds for it now."""
    before: int | None
    """The digest it held before; None if it held none."""
    differences: tuple[Difference, ...]
    """In what the stored row differed; empty if it was new, or known."""
    time_before: datetime | None = None
    """The event time the table held before, where the stored row was looked at."""


class FillStore:
    """The four tables of one account. With `dry_run` it reads as ever and writes nothing."""

    def __init__(
        self,
        warehouse: Warehouse,
        tables: Tables,
        run_id: UUID,
        started_at: datetime,
        dry_run: bool,
    ) -> None:
        self.warehouse = warehouse
        self.tables = tables
        self._run_id = run_id
        self._version = int(started_at.timestamp() * 1_000_000)
        self._dry_run = dry_run
        self._was_empty: bool | None = None
        self._own: dict[str, str] | None = None
        self._given_up = False
        self._has_columns: bool | None = None
        self._sees_every_row = False

    def write(
        self, block: Mapping[FillKey, Fill], *, everywhere: bool = False, met_before: bool = False
    ) -> list[Written]:
        """Store a block: what is new or differs is written, what is known is left alone.

        A row that is replaced keeps its links, the operator's own columns, and what the exchange
        leaves out this time. After an insert whose answer never came, what is there is looked up
        before anything is sent again.

        Args:
            block: fills, each once.
            everywhere: look for rows under other tickers also where one stands under the right one;
                the cost of that grows with the table.
            met_before: this pass wrote these fills before, so that also a table that was empty
                when it began holds them.

        Raises:
            WarehouseError: the table could not be read or written, a row policy hides rows of it,
                or a row stands under another ticker and this user may not delete it; of that
                block nothing was written then.
        """
        plan = self._plan(block, everywhere, met_before)
        if not self._dry_run:
            if plan.stale:
                self._require_deleting()
            self._insert(plan.new, self._insert_new)
            self._insert(plan.corrected, self._insert_corrected)
            if plan.moved:
                self._move(plan.moved, plan.stale)
        return plan.outcome

    def give_up(self) -> None:
        """Let what another thread is writing fail at once, and write nothing from then on.

        Its fate stays unknown; the next run reads the same range again.
        """
        self._given_up = True
        self.warehouse.give_up()

    def quarantine(self, rejected: Sequence[Rejected], seen_at: datetime) -> None:
        """Keep refused items whole; one that comes back is counted, not repeated."""
        times: dict[str, int] = {}
        kept: dict[str, Rejected] = {}
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
                self._run_id,
            )
            for fingerprint, item in kept.items()
        ]
        if not self._dry_run:
            self.warehouse.insert(self.tables.name("_rejected"), _REJECTED_COLUMNS, rows)

    def accepted(self, rejected: Sequence[Rejected]) -> set[str]:
        """Return the fingerprints among these that are accepted: they cost no exit code."""
        fingerprints = sorted({item.fingerprint for item in rejected})
        if not fingerprints:
            return set()
        found = self.warehouse.rows(
            self.tables.sql("sync/accepted_fingerprints"), wanted=_fingerprints(fingerprints)
        )
        return {row[0] for row in found}

    def accept_rejected(self, *, all_of_this_run: bool = False) -> None:
        """Accept what is in quarantine and costs an exit code.

        Args:
            all_of_this_run: also accept the items this run refused that claim nothing.
        """
        if self._dry_run:
            return
        self.warehouse.command(self.tables.sql("sync/accept_rejected"))
        if all_of_this_run:
            self.warehouse.command(
                self.tables.sql("sync/accept_refused_by_run"), {"run_id": self._run_id}
            )

    def open_claims(self) -> Iterator[list[tuple[str, str]]]:
        """Yield fingerprint and payload of the claims not accepted that this run did not refuse."""
        after = ""
        while True:
            found = self.warehouse.rows(
                self.tables.sql("sync/open_claims"),
                {"after": after, "run_id": self._run_id, "at_most": _CLAIMS_AT_ONCE},
            )
            yield [(str(row[0]), str(row[1])) for row in found]
            if len(found) < _CLAIMS_AT_ONCE:
                return
            after = found[-1][0]

    def close_claims(self, fingerprints: Sequence[str]) -> None:
        """Accept these claims: their fills are stored."""
        for start in range(0, len(fingerprints), _CLOSED_AT_ONCE):
            self.warehouse.command(
                self.tables.sql("sync/close_claims"),
                {"fingerprints": list(fingerprints[start : start + _CLOSED_AT_ONCE])},
            )

    def keys_of(self, fill_ids: Sequence[str], since: datetime) -> list[FillKey]:
        """Return the stored fills with one of these ids, of a time from which on to look."""
        found = self.warehouse.rows(
            self.tables.sql("sync/keys_of_ids"),
            {"since": since},
            wanted=TextTable(("fill_id",), [(fill_id,) for fill_id in fill_ids]),
        )
        return [FillKey(row[0], row[1]) for row in found]

    def contradicted(self) -> list[str]:
        """Return the payloads in quarantine that contradict another report of their fill."""
        found = self.warehouse.rows(self.tables.sql("sync/contradicted_payloads"))
        return [str(row[0]) for row in found]

    def payloads(self, keys: Iterable[FillKey]) -> list[str]:
        """Return the payloads of the rows that count of these fills."""
        wanted = list(keys)
        if not wanted:
            return []
        found = self.warehouse.rows(self.tables.sql("sync/stored_payloads"), wanted=_wanted(wanted))
        return [str(row[2]) for row in found]

    def last_watermark(self) -> datetime | None:
        """Give the watermark of the last finished run, None if there is none."""
        found = self.warehouse.rows(self.tables.sql("sync/last_run"))
        return _utc(found[0][1]) if found else None

    def latest_entry(self) -> datetime:
        """Give the time of the latest entry in the run ledger; 1970 if it has none."""
        return _aware(self.warehouse.rows(self.tables.sql("sync/latest_entry"))[0][0])

    def standing(self, key_digest: str) -> Standing:
        """Return what the ledger keeps for a key, later rewinds taken into account."""
        (
            (
                own_runs,
                recorded_at,
                mark,
                identity,
                fills_held,
                environment,
                others,
                without_key,
                open_breaks,
            ),
        ) = self.warehouse.rows(self.tables.sql("sync/standing"), {"key": key_digest})
        known = Standing(
            own_runs > 0,
            _aware(mark) if _aware(mark) > _EPOCH else None,
            identity,
            int(fills_held),
            environment,
            int(others),
            int(without_key),
            open_breaks,
        )
        if not own_runs:
            return known
        changes = self.table_changes(_aware(recorded_at))
        if not changes.entries:
            return known
        return known._replace(
            watermark=changes.cap(known.watermark),
            identity=changes.identity,
            fills_held=min(known.fills_held, changes.fills_held),
        )

    def table_changes(self, since: datetime) -> TableChanges:
        """Return what truncate and migrate did to the fills table after a moment."""
        ((entries, rewinds, to_none, earliest, identity, fills_held),) = self.warehouse.rows(
            self.tables.sql("sync/table_changes"), {"since": since}
        )
        return TableChanges(
            int(entries),
            int(rewinds),
            to_none > 0,
            _aware(earliest) if rewinds and earliest is not None else None,
            identity,
            int(fills_held),
        )

    def table_state(self, expected: int | None) -> TableState:
        """Return which table the fills table is, and how many rows it has.

        Where there are as many as expected nothing is read for that. Where there are more, another
        writer may have filled up what somebody removed: its rows are not counted then. None expects
        any number.
        """
        place = {"database": self.tables.database, "table": self.tables.fills}
        ((engine, identity),) = self.warehouse.rows(
            self.tables.sql("sync/table_identity"), place
        ) or [("", "")]
        if engine.startswith("Replicated"):
            with contextlib.suppress(WarehouseError):  # not every user may look there
                found = self.warehouse.rows(self.tables.sql("sync/replicated_path"), place)
                identity = found[0][0] if found else identity
        rows = all_rows = int(
            self.warehouse.rows(self.tables.sql("schema/count_rows", suffixes={"__counted": ""}))[
                0
            ][0]
        )
        if expected is not None and rows > expected:
            with contextlib.suppress(WarehouseError):  # a table of old does not know who wrote
                rows = int(self.warehouse.rows(self.tables.sql("sync/count_synced"))[0][0])
        return TableState(identity, rows, all_rows)

    def table_change(self) -> str:
        """Return how the table differs from what the ledger says for any key; empty if it does not.

        Whoever replaces the table on purpose asks first, so that an earlier change that no sync has
        noticed yet is not covered up.
        """
        if not self._ledger_has_columns():
            return ""
        for key_digest in self._keys():
            standing = self.standing(key_digest)
            if standing.watermark is None:
                continue
            if why := standing.table_change(self.table_state(standing.fills_held)):
                return why
        return ""

    def _keys(self) -> list[str]:
        return [str(row[0]) for row in self.warehouse.rows(self.tables.sql("sync/keys"))]

    def rewind(
        self,
        watermark: datetime | None,
        why: str,
        now: datetime,
        table: TableState | None = None,
    ) -> None:
        """Set the watermark back by an entry of its own, written later than every other.

        Args:
            watermark: to where; None to have everything read again.
            why: the reason, never empty: it is what marks such an entry.
            now: the clock.
            table: which table is there now, and the fills it holds; None while that changes.
        """
        self._note_table(watermark, why, now, table or TableState("", 0))

    def note_rebuild(self, table: TableState, now: datetime) -> None:
        """Record that the fills table was rebuilt, if every fill of the runs before is in it."""
        if not self._ledger_has_columns():
            return
        held = [self.standing(key_digest).fills_held for key_digest in self._keys()]
        if table.identity and held and table.rows >= max(held):
            mark = self.last_watermark()
            self._note_table(mark, "", now, table, ("migrate rebuilt the fills table",))

    def _note_table(
        self,
        watermark: datetime | None,
        why: str,
        now: datetime,
        table: TableState,
        notes: Sequence[str] = (),
    ) -> None:
        run = Run(
            self._run_id,
            "done",
            now,
            now,
            None,
            now,
            watermark,
            Counts(),
            socket.gethostname(),
            os.getpid(),
            why,
            table_identity=table.identity,
            fills_held=table.rows,
            notes=notes,
        )
        self.record(run, max(now, self.latest_entry() + timedelta(microseconds=1)))

    def unfinished(self) -> list[Unfinished]:
        """Give the runs, of any host, that have not said how they ended, oldest first."""
        found = self.warehouse.rows(self.tables.sql("sync/unfinished_runs"))
        return [Unfinished(*row) for row in found]

    def record(self, run: Run, recorded_at: datetime) -> None:
        """Write the run's row into the ledger; the latest one counts."""
        if self._dry_run or self._given_up:
            return
        facts: dict[str, object] = {
            **run._asdict(),
            **run.counts.as_dict(),
            "tool_version": __version__,
            "recorded_at": recorded_at,
        }
        del facts["counts"]
        facts["notes"] = list(run.notes)
        if not self._ledger_has_columns():  # truncate also works before migrate
            for name in LATER_COLUMNS:
                del facts[name]
        self.warehouse.insert(self.tables.name("_runs"), list(facts), [list(facts.values())])

    def _ledger_has_columns(self) -> bool:
        """Whether the ledger is that of this version; an earlier one knows no key and no table."""
        if self._has_columns is None:
            self._has_columns = ledger_has_columns(self.warehouse, self.tables)
        return self._has_columns

    def hours(self, start: datetime | None, end: datetime) -> dict[datetime, HourDigest]:
        """Return count and digest of the stored fills of a window, by hour.

        Raises:
            WarehouseError: the table could not be read, or a row policy hides rows of it.
        """
        self.require_every_row()
        if start is None:
            found = self.warehouse.rows(
                self.tables.sql("sync/digests_per_hour_of_all"), {"end": end}
            )
        else:
            found = self.warehouse.rows(
                self.tables.sql("sync/digests_per_hour"), {"start": start, "end": end}
            )
        return {_aware(row[0]): HourDigest(int(row[1]), int(row[2])) for row in found}

    def between(self, start: datetime, end: datetime) -> list[tuple[FillKey, str, Content]]:
        """Return identity, ticker and content of the stored fills of a range.

        A fill of which it is undefined what FINAL shows comes with each content it may be.
        """
        found = self.warehouse.rows(
            self.tables.sql("sync/fills_between"), {"start": start, "end": end}
        )
        return [(FillKey(row[0], row[1]), row[2], Content._make(row[3])) for row in found]

    def _plan(self, block: Mapping[FillKey, Fill], everywhere: bool, met_before: bool) -> _Plan:
        plan = _Plan([], [], [], [], [])
        doubtful: dict[FillKey, tuple[Fill, int]] = {}
        new_table = self._is_empty() and not met_before
        stored = {} if new_table else self._digests(block.values(), everywhere)
        texts_of_all = contents(list(block.values()))
        for (key, fill), texts in zip(block.items(), texts_of_all, strict=True):
            sent = digest(texts)
            known = stored.get(key)
            if known is None:
                plan.outcome.append(Written(fill, sent, None, ()))
                plan.new.append(_Row(fill, texts, sent, self._version))
            elif known.digest == sent and not known.care:
                plan.outcome.append(Written(fill, sent, sent, ()))
            else:
                doubtful[key] = (fill, known.digest)
        for key, held in self.whole(doubtful).items():
            fill, before = doubtful[key]
            self._plan_closer(plan, fill, held, before)
        return plan

    def _plan_closer(self, plan: _Plan, fill: Fill, held: Stored, before: int) -> None:
        """Plan for a fill of which the table holds something that may differ."""
        found = _differing(held, content(fill))
        if held.links_lost:
            found.append(Difference("links", "", "kept from the engine's own row"))
        whole = completed(fill, held.content)
        texts = content(whole)
        now = digest(texts)
        elsewhere = [ticker for ticker in held.tickers if ticker != whole.ticker]
        plan.stale.extend((fill.key, ticker) for ticker in elsewhere)
        if elsewhere and not found:
            found.append(Difference("market_ticker", elsewhere[0], whole.ticker))
        if held.undefined and not found:
            found.append(Difference("version", "several rows of the same", "one row"))
        if not found and now != before:
            found = [Difference("content", f"{before:016x}", f"{now:016x}")]
        if found or held.unfinished:
            row = _Row(whole, texts, now, min(max(self._version, held.version + 1), _MAX_VERSION))
            (plan.moved if elsewhere else plan.corrected).append(row)
        plan.outcome.append(Written(whole, now, before, tuple(found), time_of(held.content)))

    def _is_empty(self) -> bool:
        """Return whether the table had no row when this pass first wrote."""
        if self._was_empty is None:
            self.require_every_row()
            self._was_empty = not self.warehouse.rows(self.tables.sql("sync/has_fills"))
        return self._was_empty

    def _digests(self, fills: Collection[Fill], everywhere: bool = False) -> dict[FillKey, _Known]:
        """Look fills up by the sort key, and by order id what it does not find, or all."""
        if everywhere:
            return self._known("sync/stored_digests", _wanted(fill.key for fill in fills))
        keys = [(fill.ticker, fill.fill_id, fill.order_id) for fill in fills]
        found = self._known(
            "sync/stored_digests_by_key", TextTable(("market_ticker", "fill_id", "order_id"), keys)
        )
        left = [fill.key for fill in fills if fill.key not in found]
        return found | self._known("sync/stored_digests", _wanted(left)) if left else found

    def _known(self, statement: str, wanted: TextTable) -> dict[FillKey, _Known]:
        found = self.warehouse.rows(self.tables.sql(statement), wanted=wanted)
        return {
            FillKey(row[0], row[1]): _Known(int(row[2]), int(row[3]), bool(row[4])) for row in found
        }

    def whole(self, keys: Iterable[FillKey]) -> dict[FillKey, Stored]:
        """Give everything the table holds of these fills; those it lacks are left out."""
        wanted = list(keys)
        if not wanted:
            return {}
        comparable = [
            name for name, type_ in self._own_columns().items() if not _INCOMPARABLE.search(type_)
        ]
        statement = self.tables.sql("sync/stored_fills", comparable_columns=comparable)
        return {
            FillKey(row[0], row[1]): Stored(
                tuple(sorted(map(Content._make, row[2]), key=_knowledge, reverse=True)),
                int(row[3]),
                sorted(row[4]),
                bool(row[5]),
                bool(row[6]),
                bool(row[7]),
            )
            for row in self.warehouse.rows(statement, wanted=_wanted(wanted))
        }

    def _own_columns(self) -> dict[str, str]:
        """The operator's own columns that hold values, and their types: a correction keeps them."""
        if self._own is None:
            held = self.warehouse.rows(
                self.tables.sql("schema/columns"),
                {"database": self.tables.database, "table": self.tables.fills},
            )
            ours = {*FILL_COLUMNS, *_DERIVED_COLUMNS}
            self._own = {
                str(name): str(type_)
                for name, type_, kind, _ in held
                if name not in ours and kind in ("", "DEFAULT")
            }
        return self._own

    def _insert(self, rows: Sequence[_Row], send: Callable[[Sequence[_Row]], None]) -> None:
        deadline = time.monotonic() + _SETTLE_SECONDS
        missing = rows
        while missing:
            try:
                send(missing)
                return
            except InsertUnknown:
                if self._given_up:
                    raise
                missing = self._not_there(rows, deadline)
                if missing and (self._given_up or time.monotonic() > deadline):
                    raise

    def _insert_new(self, rows: Sequence[_Row]) -> None:
        self.warehouse.insert_columns(self.tables.name(), self._columns(rows))

    def _insert_corrected(self, rows: Sequence[_Row]) -> None:
        statement = self.tables.sql("sync/correct_fills", own_columns=list(self._own_columns()))
        self.warehouse.insert_columns(self.tables.name(), self._columns(rows), statement)

    def _move(self, rows: Sequence[_Row], stale: Sequence[tuple[FillKey, str]]) -> None:
        """Write rows that stand under other tickers, and delete what stands there.

        A row without a hash comes first: a run that is cut short after it leaves a mark by which
        the next one finds the stale row.
        """
        self._insert([row._replace(digest=0) for row in rows], self._insert_corrected)
        self._delete_under_other_tickers(stale)
        after = [row._replace(version=min(row.version + 1, _MAX_VERSION)) for row in rows]
        self._insert(after, self._insert_corrected)

    def _require_deleting(self) -> None:
        """Refuse to correct a ticker where this user could not delete the row of the old one."""
        try:
            lines = [str(row[0]) for row in self.warehouse.rows(self.tables.sql("schema/grants"))]
        except WarehouseError:
            return  # an engine without users has no grants to miss
        database, table = self.tables.database, self.tables.fills
        if missing_grants(lines, ("ALTER DELETE",), database, table, followers=False):
            raise WarehouseError(
                f"fills of {database}.{table} stand under another ticker than the exchange's, and "
                "this ClickHouse user may not delete rows there",
                hint="none of them was changed; as an administrator run: "
                f"GRANT ALTER DELETE ON {self.tables.name()} TO its_name",
            )

    def require_every_row(self) -> None:
        """Refuse a table of which a row policy hides rows from this user.

        Raises:
            WarehouseError: it does; nothing could be proven of such a table.
        """
        if self._sees_every_row:
            return
        plan = self.warehouse.rows(self.tables.sql("sync/rows_filtered"))
        if any("filter column" in str(row[0]).lower() for row in plan):
            raise WarehouseError(
                f"a row policy hides rows of {self.tables.database}.{self.tables.fills} from this "
                "ClickHouse user, so that nothing can be proven of it",
                hint="as an administrator add a row policy `USING 1` for this user, or give "
                "another user in CLICKHOUSE_URL",
            )
        self._sees_every_row = True

    def _not_there(self, rows: Sequence[_Row], deadline: float) -> list[_Row]:
        """Look up which of the rows an insert of unknown fate left out."""
        while True:
            time.sleep(_SETTLE_WAIT_SECONDS)
            try:
                there = self._digests([row.fill for row in rows])
            except WarehouseError:
                if self._given_up or time.monotonic() > deadline:
                    raise
                continue
            return [
                row
                for row in rows
                if row.fill.key not in there or there[row.fill.key].version < row.version
            ]

    def _delete_under_other_tickers(self, stale: Sequence[tuple[FillKey, str]]) -> None:
        self.warehouse.command(
            self.tables.sql("sync/delete_under_other_tickers"),
            {
                "fill_ids": [key.fill_id for key, _ in stale],
                "order_ids": [key.order_id for key, _ in stale],
                "tickers": [ticker for _, ticker in stale],
            },
        )

    def _columns(self, rows: Sequence[_Row]) -> list[Column]:
        """Lay rows out as columns: what is digested, as the very texts that were digested."""
        fills, texts, digests, versions = zip(*rows, strict=True)
        values: dict[str, Sequence[object]] = dict(
            zip(CONTENT_FIELDS, zip(*texts, strict=True), strict=True)
        )
        for name in _NULLABLE:
            values[name] = [text or None for text in values[name]]
        values |= {
            "id_synthetic": ["true" if fill.id_synthetic else "false" for fill in fills],
            "source": [fill.source for fill in fills],
            "run_id": [str(self._run_id)] * len(rows),
            "content_hash": list(map(str, digests)),
            "raw_json": [fill.raw_json for fill in fills],
            "version": list(map(str, versions)),
            "client_order_id": [fill.client_order_id for fill in fills],
        }
        return [
            Column(name, "Nullable(String)" if name in _NULLABLE else "String", values[name])
            for name in FILL_COLUMNS
            if name in values
        ]


def _differing(held: Stored, sent: Content) -> list[Difference]:
    """Return in what the exchange's content differs from the table's.

    Where that is undefined, from the first of those it may be that differs at all.
    """
    return next(filter(None, (differences(one, sent) for one in held.contents)), [])


def _knowledge(texts: Content) -> tuple[int, Content]:
    return sum(map(bool, texts)), texts


def _fingerprints(fingerprints: Iterable[str]) -> TextTable:
    return TextTable(("fingerprint",), [(fingerprint,) for fingerprint in fingerprints])


def _wanted(keys: Iterable[FillKey]) -> TextTable:
    return TextTable(("fill_id", "order_id"), list(keys))


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)


def _aware(moment: datetime) -> datetime:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
