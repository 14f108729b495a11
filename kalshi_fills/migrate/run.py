"""One migration: look, plan, act, and report each step.

The numbered statements of `queries/migrations/` are the schema. The ledger remembers which were
applied with which text; an edited one is refused.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from kalshi_fills.migrate.found import look, place_of
from kalshi_fills.migrate.plan import plan
from kalshi_fills.migrate.rebuild import Rebuild
from kalshi_fills.warehouse.client import Warehouse
from kalshi_fills.warehouse.declared import OUR_TABLES
from kalshi_fills.warehouse.gathering import Work
from kalshi_fills.warehouse.grants import TO_MIGRATE, require_grants
from kalshi_fills.warehouse.replicas import wait_for_replicas
from kalshi_fills.warehouse.statements import Tables
from kalshi_fills.warehouse.there import declared_columns

log = logging.getLogger(__name__)


NOTHING, PLANNED, DONE = "nothing to do", "planned", "done"


class Step(NamedTuple):
    """One step of a migration, planned or done."""

    name: str
    found: str
    action: str
    rows: int | None
    bytes: int | None
    seconds: float
    status: str
    """nothing to do, planned, or done."""


@dataclass(slots=True)
class MigrationReport:
    """What migrate found and did."""

    dry_run: bool
    steps: list[Step] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """Tables kept aside by this run, with the rows of before."""
    columns: list[str] = field(default_factory=list)
    """The columns of the fills table at the end; in a dry run those it has now."""

    @property
    def changed(self) -> bool:
        """Return whether anything was changed, or in a dry run would be."""
        return any(step.status != NOTHING for step in self.steps)


def migrate(
    warehouse: Warehouse,
    tables: Tables,
    now: datetime,
    *,
    dry_run: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> MigrationReport:
    """Bring the tables to today's schema, each step once, and return what was found and done.

    Args:
        warehouse: where the tables are.
        tables: their names.
        now: when the migration begins.
        dry_run: plan only; nothing is written.
        progress: is called with a line for each step before it is done.

    Raises:
        SchemaError: an applied migration was edited, the ledger is of a newer version, the
            table is no fills table, or it cannot be rebuilt here; nothing was changed.
        WarehouseError: ClickHouse refused a statement; running it again resumes.
    """
    report = MigrationReport(dry_run)
    place = place_of(warehouse, tables, now)
    found = look(place, report.kept)
    works = plan(place, found, Rebuild(place, report.kept))
    if any(work.do is not None for work in works):
        needed = TO_MIGRATE if found.engine is not None else ("CREATE DATABASE", *TO_MIGRATE)
        require_grants(warehouse, place.tables, needed)
    for work in works:
        log.info("migrate_plan", extra={"fields": _facts(work)})
    report.steps = [_step(work, progress, dry_run=dry_run) for work in works]
    if not dry_run and report.changed:
        wait_for_replicas(warehouse, place.tables, suffixes=("", *OUR_TABLES))
    report.columns = [column.name for column in declared_columns(warehouse, place.tables)]
    return report


def _step(work: Work, progress: Callable[[str], None], *, dry_run: bool) -> Step:
    """Do one step, unless it has nothing to do or nothing is to be written."""
    began = time.monotonic()
    status, action = NOTHING, work.action
    if work.do is not None:
        status = PLANNED
        if not dry_run:
            progress(f"{work.name}: {work.action}")
            action = work.do() or work.action
            status = DONE
    seconds = round(time.monotonic() - began, 3)
    step = Step(work.name, work.found, action, work.rows, work.bytes, seconds, status)
    if status == DONE:
        log.info("migrate_step", extra={"fields": step._asdict()})
    return step


def _facts(work: Work) -> dict[str, object]:
    facts = work._asdict()
    del facts["do"]
    return facts
