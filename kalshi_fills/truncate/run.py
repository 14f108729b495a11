"""Removing rows on purpose, by the plan; what is removed is kept as a backup.

The watermark is rewound first, to what the next sync must read again: a run that is killed between
the two makes a sync read too much, never too little. Quarantine and ledgers stay as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from kalshi_fills.errors import WarehouseError
from kalshi_fills.truncate.backups import backups, empty_backups
from kalshi_fills.truncate.place import Place
from kalshi_fills.truncate.plan import (
    EVERYTHING,
    TruncateRequest,
    TruncationReport,
    plan_truncation,
    rows_of,
)
from kalshi_fills.truncate.removal import (
    TOO_LARGE_TO_DROP,
    Criterion,
    begin,
    create_like,
    unfinished,
)
from kalshi_fills.warehouse.in_flight import wait_for_inserts
from kalshi_fills.warehouse.replicas import wait_for_replicas
from kalshi_fills.warehouse.runs import table_state
from kalshi_fills.warehouse.standing import TableState
from kalshi_fills.warehouse.there import tables_there

log = logging.getLogger(__name__)


_NOT_EMPTY: Final = 705

Progress = Callable[[str], None]


def truncate(
    place: Place, request: TruncateRequest, progress: Progress = lambda _: None
) -> TruncationReport:
    """Do what the plan says, after what killed runs left is finished.

    Raises:
        SettingsError: there is no such backup, or the table to restore it into has rows.
        SchemaError: the table cannot be truncated like this; nothing was changed.
        WarehouseError: ClickHouse refused a statement; running it again finishes.
    """
    report = plan_truncation(place, request)
    log.info("truncate_plan", extra={"fields": _logged(report)})
    if not report.has_work:
        return report
    if report.unfinished:
        sentences = _finish_killed(place, report, progress)
        report = plan_truncation(place, request)
        report.unfinished = sentences
    report.acted = True
    if report.restored is not None:
        _restore(place, report, report.restored, progress)
    elif report.rows_removed or report.rows_repaired:
        if request.what == EVERYTHING:
            _remove_all(place, report, progress)
        else:
            _remove_some(place, report, Criterion(request.before), progress)
    kept = [place.suffix(report.backup)] if report.backup else []
    wait_for_replicas(place.warehouse, place.tables, suffixes=("", "_runs", *kept))
    report.backups = backups(place.warehouse, place.tables)
    log.info("truncated", extra={"fields": _logged(report)})
    return report


def _finish_killed(place: Place, report: TruncationReport, progress: Progress) -> list[str]:
    """Finish what killed runs left, and return what was done as sentences."""
    sentences = []
    for removal in unfinished(place.warehouse, place.tables):
        progress("finishing what a killed truncate left")
        result = removal.resume()
        if result is None:
            sentences.append("A truncate that was killed before it removed anything was undone.")
        elif result.backup is None:
            sentences.append("A truncate that was killed was finished.")
        else:
            sentences.append(
                f"A truncate that was killed was finished; its backup is {result.backup}."
            )
    empty = empty_backups(report.backups, report.restored)
    if empty:
        wait_for_inserts(place.warehouse, place.tables)
    dropped = [backup.name for backup in empty if _drop_empty(place, place.suffix(backup.name))]
    return sentences + [f"The backup {name} held no row and was dropped." for name in dropped]


def _remove_all(place: Place, report: TruncationReport, progress: Progress) -> None:
    why = "every row was removed"
    if not report.keeps:
        progress("removing every row")
        with _rewinding(place, report, why):
            _empty(place)
        return
    progress("putting an empty table in place")
    create_like(place.warehouse, place.tables, place.backup)
    try:
        with _rewinding(place, report, why):
            place.run("schema/exchange", {"__new": place.backup, "__old": ""})
    except WarehouseError as error:
        if _is_refusal(place, error):
            _drop_empty(place, place.backup)
        raise
    wait_for_inserts(place.warehouse, place.tables)
    _count_late(report, rows_of(place, place.backup), 0)


def _remove_some(
    place: Place, report: TruncationReport, criterion: Criterion, progress: Progress
) -> None:
    removal = begin(place.warehouse, place.tables, place.stamp)
    progress("judging every row")
    planned = report.watermark
    report.take(removal.judge(criterion, place.now))
    if planned is None:
        report.watermark = None
    if not report.rows_removed and not report.rows_repaired:
        removal.undo()
        report.backup = None
        return
    progress("copying the rows that stay")
    try:
        with _rewinding(place, report, "rows were removed"):
            removal.exchange()
    except WarehouseError as error:
        if _is_refusal(place, error):
            removal.resume()
        raise
    progress("keeping what was removed")
    result = removal.finish(keep=report.keeps)
    report.backup, report.backup_holds_all_rows = result.backup, result.holds_all_rows
    removed = report.rows_removed
    if result.backup is not None and not result.holds_all_rows:
        removed = rows_of(place, place.suffix(result.backup))
    _count_late(report, removed, rows_of(place, ""))


def _restore(place: Place, report: TruncationReport, backup: str, progress: Progress) -> None:
    suffix = place.suffix(backup)
    progress("putting the backup in place")
    with _rewinding(place, report, f"{backup} was restored"):
        place.run("schema/exchange", {"__new": suffix, "__old": ""})
    wait_for_inserts(place.warehouse, place.tables)
    if not _drop_empty(place, suffix):
        place.run("truncate/copy_whole", {"__from": suffix})
        place.run("truncate/drop_copy", {"__copy": suffix})
    rows = rows_of(place, "")
    report.rows_late, report.rows_restored = rows - report.rows_restored, rows


@contextmanager
def _rewinding(place: Place, report: TruncationReport, why: str) -> Iterator[None]:
    """Rewind the watermark, and undo that if ClickHouse refuses what is done in the block.

    An entry is written although the watermark may be there already: a sync that runs on another
    host meanwhile must not set it further on.
    """
    if "_runs" not in tables_there(place.warehouse, place.tables):
        yield
        return
    to = report.watermark.isoformat() if report.watermark else "none"
    note = f"truncate rewound the watermark to {to}: {why}"
    place.ledger.rewind(report.watermark, note, place.now)
    try:
        yield
    except WarehouseError as error:
        if _is_refusal(place, error):
            place.ledger.rewind(
                report.watermark_before,
                "truncate was refused and set the watermark back to where it was",
                place.now,
                _state_now(place),
            )
        raise
    place.ledger.rewind(report.watermark, note, place.now, _state_now(place))


def _state_now(place: Place) -> TableState:
    """Return which table is there now, and its fills: so that the next sync knows it again."""
    return table_state(place.warehouse, place.tables, None)._replace(rows=rows_of(place, ""))


def _is_refusal(place: Place, error: WarehouseError) -> bool:
    """Return whether the statement was certainly not done, nor will be."""
    return error.code is not None and not place.tables.replicated


def _empty(place: Place) -> None:
    try:
        place.run("truncate/empty")
    except WarehouseError as error:
        if error.code != TOO_LARGE_TO_DROP:
            raise
        raise WarehouseError(
            f"{place.tables.database}.{place.tables.fills} is larger than the server lets anybody "
            "remove for good at once (its setting max_table_size_to_drop)",
            hint="leave --no-backup out: putting an empty table in its place is not limited, and "
            "copies nothing",
            code=error.code,
        ) from error


def _drop_empty(place: Place, suffix: str) -> bool:
    """Drop a table that holds no row; return False if it holds one, and leave it then."""
    try:
        place.run("truncate/drop_empty", {"__empty": suffix})
    except WarehouseError as error:
        if error.code != _NOT_EMPTY:
            raise
        return False
    return True


def _count_late(report: TruncationReport, removed: int, left: int) -> None:
    """Note the final counts, and how many rows have come since the plan."""
    report.rows_late = removed + left - report.rows_before
    report.rows_removed, report.rows_before = removed, removed + left


def _logged(report: TruncationReport) -> dict[str, object]:
    return {
        "what": report.what,
        "rows_before": report.rows_before,
        "rows_removed": report.rows_removed,
        "rows_left": report.rows_left,
        "backup": report.backup,
        "restored": report.restored,
        "watermark": report.watermark.isoformat() if report.watermark else None,
    }
